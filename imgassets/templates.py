"""What a template in YAML may say: Dagster renders every text by Jinja, from which all of Python can be reached."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import nodes

ALLOWED = "a template here says env('NAME'), env('NAME', 'default'), 'text' and `or`, nothing else"
SECRETS = ("TOKEN", "SECRET", "PASSWORD", "KEY")
"""In names of variables whose values are not shown."""
MARKS = ("{{", "{%", "{#")
"""What begins anything of Jinja's."""


def problem(text: str) -> str:
    """Why `text` must not be rendered; empty if it may be. Nothing is evaluated to tell."""
    if not any(mark in text for mark in MARKS):
        return ""
    if any(mark in text for mark in MARKS[1:]):
        return f"has a block or a comment of Jinja: {ALLOWED}"
    from jinja2 import Environment, TemplateSyntaxError  # Dagster imports it as late

    try:
        template = Environment(autoescape=True).parse(text)  # of that, parsing takes no notice
    except (TemplateSyntaxError, RecursionError) as error:
        return f"is no template ({error}): {ALLOWED}"
    if all(_harmless(node) for node in template.iter_child_nodes()):
        return ""
    return f"is code: {ALLOWED}"


def _harmless(node: nodes.Node) -> bool:
    from jinja2 import nodes

    match node:
        case nodes.Output():
            return all(isinstance(part, nodes.TemplateData) or _harmless(part) for part in node.nodes)
        case nodes.Const():
            return isinstance(node.value, str) and "{" not in node.value  # nothing that a second rendering would take
        case nodes.Or():
            return _harmless(node.left) and _harmless(node.right)
        case nodes.Call(node=nodes.Name(name="env")):
            more = node.kwargs or node.dyn_args or node.dyn_kwargs
            return not more and len(node.args) in (1, 2) and all(map(_text, node.args))
    return False


def _text(node: nodes.Node) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Const) and _harmless(node)


def filled_in(text: str) -> str:
    """A text to be shown with its templates filled in, but for secrets; as it stands if they must not be rendered."""
    if not any(mark in text for mark in MARKS) or problem(text):
        return text
    from jinja2 import Template

    return str(Template(text).render(env=_env))


def _env(name: str, default: str = "") -> str:
    value = os.environ.get(name, default)
    return "(set)" if value and any(word in name.upper() for word in SECRETS) else value
