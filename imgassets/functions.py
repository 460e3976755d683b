"""Functions that a setting names as `package.module:function`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import xxhash

from imgassets.errors import BadInput


def function_named(name: str, what: str) -> Callable[..., Any]:
    """What `package.module:function` names; `what` is the setting that says so.

    Raises:
        BadInput: there is no such thing, its module cannot be imported, or it cannot be called.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except Exception as error:  # whatever the module does while it is imported
        raise BadInput(
            f"{what}={name!r}: {type(error).__name__}: {error}; mend that, or name another as package.module:function."
        ) from error
    if not callable(found):
        raise BadInput(f"{what}={name!r} is a {type(found).__name__}, no function.")
    return found  # type: ignore[no-any-return]


@cache
def code_of(module: str) -> str:
    """XXH3-128 of a module's file as this process first saw it; empty where it has none. It is not imported."""
    return _checksum(module)


def refuse_changed(module: str) -> None:
    """Make sure that the module which this process has loaded is the one that `code_of` tells of.

    Raises:
        BadInput: its file was changed meanwhile.
    """
    if _checksum(module) != code_of(module):
        raise BadInput(f"{module_file(module)} was changed after this process had read it: start it again.")


def module_file(module: str) -> Path | None:
    """The file of a module, found without importing it or its packages; None where it has none, or is not there."""
    spec, places, whole = None, None, ""
    for part in module.split("."):
        whole = f"{whole}.{part}".removeprefix(".")
        spec = PathFinder.find_spec(whole, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def _checksum(module: str) -> str:
    file = module_file(module)
    return xxhash.xxh3_128_hexdigest(file.read_bytes()) if file else ""
