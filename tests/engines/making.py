"""What engines make in their tests: a file for each partition, by a process that says which it was."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imgassets import granted
from imgassets.engines import Order, Work
from imgassets.errors import BadInput, Taken

MAKER = f"{__name__}:maker"


def maker(document: Mapping[str, Any], say: Callable[[str], object]) -> Callable[[str, bool], Any]:
    """Writes the file of a partition's name below `folder`; names say what goes wrong."""
    folder = Path(document["folder"])

    def make(key: str, wait: bool) -> Any:
        (folder / f"{key}.begun").touch()
        say(f"making {key}")
        if key.startswith("bad"):
            raise BadInput(f"{key} is bad")
        if key.startswith("taken") and not wait:
            raise Taken(f"{key} is taken")
        if key.startswith("broken"):
            raise RuntimeError(f"{key} is broken")
        if key.startswith("dies"):
            os._exit(7)
        if key.startswith("long"):
            _long(folder / f"{key}.pid")
        (folder / key).write_text(key)
        return {"pid": os.getpid(), "cpus": granted.granted_cpus(), "key": key}

    return make


def _long(file: Path) -> None:
    file.with_suffix(".part").write_text(str(os.getpid()))
    file.with_suffix(".part").rename(file)
    try:
        time.sleep(60)
    finally:
        file.with_suffix(".back").touch()


def work(folder: Path, *keys: str, said: list[str] | None = None) -> Work[Any]:
    """Work on files in `folder`."""
    say = (said if said is not None else []).append
    document = {"folder": str(folder)}
    return Work(keys, maker(document, say), say, Order(MAKER, document), dict)
