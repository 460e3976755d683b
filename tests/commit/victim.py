"""What the fault tests commit: a folder of several files, or one file, in two versions. Also a script that does it.

`python victim.py KIND ROOT VERSION` commits between two calls of `os.access` that mark its beginning and its end in a
trace of system calls, and prints how it ended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from unittest import mock

from imgassets.commit import Location, Owner, Recipe, Stage, Vault, Written, checksum, versions

Kind = Literal["folder", "file"]
BEGIN, END = "/imgassets-begin", "/imgassets-end"

FILES: Mapping[str, Mapping[int, Mapping[str, bytes]]] = {
    # names that stay, come and go; the same size with other bytes; more than one write; none; a folder within
    "folder": {
        1: {"a.bin": b"a" * 100, "gone/b.bin": b"b" * 70_000, "same.bin": b"=" * 10},
        2: {"a.bin": b"A" * 100, "empty.bin": b"", "same.bin": b"=" * 10, "sub/big.bin": b"B" * 140_000},
        3: {"a.bin": b"3" * 100},
    },
    "file": {1: {"x.tar": b"1" * 70_000}, 2: {"x.tar": b"2" * 70_000}, 3: {"x.tar": b"3" * 70_000}},
}
SCATTERED = {"same.bin"}
"""Not written from front to back."""


def vault_at(root: Path) -> Vault:
    return Vault(root / "store", root / "state", lambda dataset: Owner(f"owner of {dataset}"))


def location_in(vault: Vault, kind: Kind) -> Location:
    return vault.location("demo", kind, "one" if kind == "folder" else "x.tar", folder=kind == "folder")


def recipe(kind: Kind, version: int) -> Recipe:
    return Recipe(f"demo/{kind}", "one", {"raw.bin": "0" * 32}, {"version": version}, "raw/1", "1")


def write(stage: Stage, files: Mapping[str, bytes]) -> Written:
    """As a format's writer does: what an earlier attempt finished is left alone."""
    stage.need(sum(map(len, files.values())))
    for name, data in files.items():
        if stage.finished(name):
            continue
        half = len(data) // 2
        if name in SCATTERED:
            with stage.scatter(name) as places:
                places.put(data[half:], half)
                places.put(data[:half], 0)
        else:
            with stage.create(name) as sink:
                sink.write(data[:half])
                sink.write(data[half:])
    return Written({"files": len(files)})


def commit(root: Path, kind: Kind, version: int, *, force: bool = False) -> bool:
    """Commit one version; True if it was made."""
    vault = vault_at(root)
    files = FILES[kind][version]
    with (
        mock.patch.object(checksum, "TICK", 0),  # how many calls there are must not depend on the speed of the disk
        mock.patch.object(versions, "GRACE", 0),
    ):
        made = vault.commit(
            location_in(vault, kind), recipe(kind, version), lambda stage: write(stage, files), force=force
        )
    return made.fresh


def main() -> None:
    """Commit, and print the outcome as JSON."""
    kind, root, version = sys.argv[1:4]
    os.access(BEGIN, os.F_OK)
    try:
        outcome: dict[str, object] = {"fresh": commit(Path(root), kind, int(version))}  # type: ignore[arg-type]
    except Exception as error:
        outcome = {"error": [base.__name__ for base in type(error).__mro__], "message": str(error)}
    os.access(END, os.F_OK)
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
