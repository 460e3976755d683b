"""Which files the batches of a dataset are, and where each one's rows begin in its split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign
from imgassets.sources.imagenet_npz import open_batch, told_rows

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key under which batch_2 comes before batch_10; names that differ only in leading zeros keep text order."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def find_batches(folder: str | os.PathLike[str], names: Iterable[str]) -> dict[str, Path]:
    """The file `<name>.npz` of every declared batch, in natural order of the names; other files are no matter.

    Raises BadInput if the folder has no NPZ file at all, or names the declared ones it lacks.
    """
    folder = Path(folder)
    declared = sorted(set(names), key=natural_key)
    if not declared:
        raise BadInput(f"No batches are declared for {folder}; name at least one, such as train_data_batch_1")
    for name in declared:
        if not _NAME.fullmatch(name):
            raise BadInput(f"{name!r} cannot be the name of a batch: letters, digits and . _ - only, no dot in front")
    try:
        found = {entry.name for entry in os.scandir(folder) if entry.name.endswith(".npz")}
    except OSError as error:
        found, why = set(), f" ({error.strerror})"
    else:
        why = ""
    if not found:
        raise BadInput(
            f"No NPZ files found in {folder}{why}: expected {_listed(declared)}; "
            + (_instead(folder, declared) or "put the ImageNet batches there or set IMGASSETS_RAW to the folder that "
               "holds this one")
        )  # fmt: skip
    missing = [name for name in declared if f"{name}.npz" not in found]
    if missing:
        raise BadInput(
            f"{folder} lacks {_listed(missing)}, declared by the dataset; "
            + (_instead(folder, missing) or "put it there or take it out of the dataset's batches")
        )
    return {name: folder / f"{name}.npz" for name in declared}


def _instead(folder: Path, names: list[str]) -> str:
    """What there is of the batches though it is no NPZ file, and what to do with it; empty where there is nothing."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
    except OSError:
        return ""
    for entry in entries:
        if entry.is_file() and entry.name.partition(".")[0] in names and "a pickle" in foreign(_head(entry.path)):
            return f"{entry.name} is the pickled download, which is never opened: get the .npz files instead"
        if entry.is_dir() and (found := [n for n in names if Path(entry.path, f"{n}.npz").is_file()]):
            return f"{entry.name}/ has {_listed(found)}: move them up, or give that folder as root"
    archives = [entry.name for entry in entries if entry.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))]
    return f"{archives[0]} is an archive: unpack it here (unzip {archives[0]})" if archives else ""


def _head(path: str) -> bytes:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(HEAD)
    return b""


def batch_offsets(
    folder: str | os.PathLike[str], names: Iterable[str], *, resolution: int = 64, last: str | None = None
) -> dict[str, int]:
    """Index, within the split whose batches are `names`, of each batch's first row: the rows of those before it.

    Only headers are read, and only those of batches before `last` (default: the last one in natural order); what is
    missing or unreadable from `last` on does not matter. A file that was cut still tells its rows where it begins.
    Raises BadInput naming the earlier batch whose rows cannot be told.
    """
    ordered = sorted(set(names), key=natural_key)
    if last is not None and last not in ordered:
        raise BadInput(f"{last} is none of the batches of {folder}: {_listed(ordered)}")
    offsets, total = {}, 0
    for name in ordered:
        offsets[name] = total
        if name == (last or ordered[-1]):
            break
        try:
            total += _rows(find_batches(folder, [name])[name], resolution)
        except BadInput as error:
            raise BadInput(
                f"{name}.npz cannot be read, so the global index of the batches after it"
                f"{f', {last},' if last else ''} is unknown: {error}"
            ) from error
    return offsets


def _rows(path: Path, resolution: int) -> int:
    try:
        return open_batch(path, resolution=resolution).rows
    except BadInput as error:
        try:
            return told_rows(path, resolution)
        except BadInput:
            raise error from None


def _listed(names: list[str]) -> str:
    files = [f"{name}.npz" for name in names]
    return ", ".join(files) if len(files) <= 4 else f"{files[0]}, {files[1]}, … {files[-1]} ({len(files)} files)"
