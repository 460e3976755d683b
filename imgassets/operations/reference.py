"""What a component's attributes are, told from its fields."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from inspect import cleandoc
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import dagster as dg

from imgassets.errors import Misunderstood
from imgassets.io import dagster_private

NAMES = {str: "text", bool: "true or false", int: "whole number", float: "number", type(None): "none"}


def component(name: str) -> type[dg.Component]:
    """The component that YAML calls `name`; one of ours without its module, too.

    Raises:
        Misunderstood: there is none.
    """
    module, _, last = name.rpartition(".")
    try:
        found = getattr(import_module(module or "imgassets.components"), last)
    except (ImportError, AttributeError, ValueError) as error:
        raise Misunderstood(f"There is no component {name!r}: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, dg.Component)):
        raise Misunderstood(f"{name!r} is no component.")
    return found


def about(kind: type[dg.Component]) -> str:
    """What it is for, with an example."""
    return cleandoc(kind.__doc__ or "")


def attributes(kind: type, before: str = "") -> Iterator[dict[str, Any]]:
    """`name`, `kind`, `default` (JSON; absent where it has to be given) and `about` of each attribute.

    Those of an attribute that has attributes itself follow it, as `settings.on_error`.
    """
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        base = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if is_dataclass(base) and isinstance(base, type):
            yield from attributes(base, f"{before}{field.name}.")
        else:
            yield {"name": before + field.name, "kind": _kind(base), **_default(field), "about": _about(hint)}


def run_settings(definitions: dg.Definitions, dataset: str) -> dict[str, str]:
    """What `--set` takes for the assets of a dataset: meaning by name."""
    found: dict[str, str] = {}
    for key, asset in dagster_private.executable(dagster_private.repository_of(definitions)):
        if key.path[0] == dataset:
            found |= dagster_private.config_descriptions(asset)
    return found


def _default(field: Field[Any]) -> Mapping[str, Any]:
    if field.default_factory is not MISSING:
        value = field.default_factory()
        return {"default": list(value) if isinstance(value, tuple) else value}
    return {} if field.default is MISSING else {"default": field.default}


def _about(hint: Any) -> str:
    for extra in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(extra, dg.Resolver) and extra.description:
            return extra.description
    return ""


def _kind(hint: Any) -> str:
    """A type in words, as somebody who writes YAML knows it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in inner)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is tuple:
        return "[" + ", ".join(map(_kind, inner)) + "]"
    if origin is dict:
        return f"{_kind(inner[1])} by {_kind(inner[0])}"
    if isinstance(hint, type) and is_dataclass(hint):
        return "{" + ", ".join(field.name for field in fields(hint)) + "}"
    return NAMES.get(hint, str(getattr(hint, "__name__", hint)))
