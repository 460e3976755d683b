"""Commands that explain: settings, components, pages, and completion for shells. None of them loads Dagster."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from imgassets import pages
from imgassets.cli import completing
from imgassets.cli.common import as_json, emit, table
from imgassets.errors import Misunderstood
from imgassets.projects import Project
from imgassets.settings import Setting, find, reference
from imgassets.settings import settings as all_settings
from imgassets.spelling import did_you_mean

WIDTH = 110


@click.command()
@click.argument("key", required=False, shell_complete=completing.settings)
@as_json
def settings(key: str | None, as_json: bool) -> None:
    """Tell of KEY its meaning, type and default, and in each dataset the value in force and where it comes from.

    KEY is an attribute of a dataset's YAML (csv_size_gb; settings.on_error; imagenet64.csv_size_gb of one dataset;
    NpzImages.seed of one component), an environment variable, or what --set takes. Without KEY all variables are
    listed, and what the project's datasets set.

    \b
    Examples:
      imgassets settings
      imgassets settings csv_size_gb
      imgassets settings IMGASSETS_STORE --json
    """
    project = Project.current()
    found = find(key, project) if key else list(all_settings(project))
    if as_json:
        emit([asdict(one) for one in found])
    elif key:
        click.echo("\n\n".join(map(_explained, found)))
    else:
        rows = [
            (f"{held.dataset}.{one.name}" if held.dataset else one.name, _text(held.value), held.source)
            for one in found
            for held in one.in_force
            if not held.dataset or (held.source != "default" and one.name != "name")
        ]
        click.echo(table(("setting", "value", "from"), rows))
        click.echo(
            "\n`imgassets settings NAME` tells its meaning; `imgassets help COMPONENT` lists all of a component."
        )


def _explained(one: Setting) -> str:
    default = f", default {_text(one.default)}" if one.default is not None else ""
    lines = [f"{one.name}  ({one.owner})  {one.kind}{default}", *_wrapped(one.about)]
    if one.run and one.owner != "environment":
        lines.append(f"  for a run: --set {one.name}=VALUE")
    rows = [(f"  {held.dataset}", _text(held.value), held.source) for held in one.in_force if held.dataset]
    rows += [("  in force", _text(held.value), held.source) for held in one.in_force if not held.dataset]
    return "\n".join(lines + ([table(("  dataset", "value", "from"), rows)] if rows else []))


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


@click.command("help")
@click.argument("topic", required=False, metavar="[COMMAND|COMPONENT|TOPIC]", shell_complete=completing.topics)
@click.pass_context
def help_(ctx: click.Context, topic: str | None) -> None:
    """Show the help of a command, all attributes of a component, or a page; without a name list what there is.

    \b
    Examples:
      imgassets help
      imgassets help ImageFolder
      imgassets help training
      imgassets help ct_rate
    """
    assert ctx.parent
    commands = getattr(ctx.parent.command, "commands", {})
    if topic is None:
        click.echo("\n".join(_contents(commands)))
    elif topic in commands:
        with click.Context(commands[topic], info_name=topic, parent=ctx.parent) as other:
            click.echo(commands[topic].get_help(other))
    elif (ours := topic.removeprefix("imgassets.components.")) in reference():
        click.echo("\n".join(_component(ours, reference()[ours])))
    elif topic in (found := pages.pages()):
        click.echo(found[topic].read_text(encoding="utf-8").rstrip())
    elif "." in topic:
        from imgassets.operations.reference import about, attributes, component

        kind = component(topic)
        click.echo(
            "\n".join(_component(topic, {"about": about(kind), "attributes": list(attributes(kind)), "run": {}}))
        )
    else:
        hint = did_you_mean(topic, [*commands, *reference(), *found]) or " `imgassets help` lists what there is."
        raise Misunderstood(f"There is no help on {topic!r}.{hint}")


def _contents(commands: Any) -> Iterator[str]:
    shown = (
        ("Commands", [(name, command.get_short_help_str(WIDTH)) for name, command in commands.items()]),
        ("Components", [(name, known["about"].splitlines()[0]) for name, known in reference().items()]),
        ("Pages", [(name, pages.title(path)) for name, path in pages.pages().items()]),
    )
    for title, rows in shown:
        yield title
        yield from table(("", ""), [(f"  {name}", about) for name, about in rows]).splitlines()[1:]
        yield ""
    yield "imgassets help NAME shows one of them."


def _component(name: str, known: dict[str, Any]) -> Iterator[str]:
    yield f"{name}\n"
    yield textwrap.indent(known["about"], "  ") + "\n"
    for one in known["attributes"]:
        needed = f", default {_text(one['default'])}" if "default" in one else ", has to be given"
        yield f"  {one['name']}: {one['kind']}{needed}"
        yield from _wrapped(one["about"], "      ")
    if known["run"]:
        yield "\n  Runs can be asked for, by --set or in the launchpad:"
        yield from _wrapped(", ".join(known["run"]), "      ")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, assets, groups, partitions, settings and components.

    The names of a project are remembered in its home, until one of its datasets' files changes.

    \b
    Examples:
      eval "$(imgassets completion bash)"                   # in ~/.bashrc
      eval "$(imgassets completion zsh)"                    # in ~/.zshrc
      imgassets completion fish > ~/.config/fish/completions/imgassets.fish
    """
    from click.shell_completion import get_completion_class

    from imgassets.cli import main

    kind = get_completion_class(shell)
    assert kind
    made = kind(main, {}, "imgassets", "_IMGASSETS_COMPLETE")
    if shell == "bash":
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}  # group:NAME is one word")
    click.echo(kind.source_template % made.source_vars())  # `source()` would start a bash to ask for its version


COMMANDS: Sequence[click.Command] = (settings, help_, completion)
