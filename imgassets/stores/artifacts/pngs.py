"""A tar of PNG images, `sample_000042.png` for the sample of that global index, as a store of images without labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from imgassets.columns import Field, array_field
from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.ustar import scan
from imgassets.stores.artifacts.found import Found, Kind, record_of
from imgassets.stores.extents import Blocks, Extent, Spans, StoreFiles, Values
from imgassets.stores.storefile import Shard, StoreInfo

FORMAT = "png-tar/1"
MEMBER = re.compile(r"sample_(\d{6,})\.png")
NAMES = ("images", "reconstructed")
FIELDS = (Field("image", "file", mode="RGB"), array_field("index", np.int64), Field("name", "text"))


def _parts(folder: Path) -> Sequence[str]:
    return [name for name in NAMES if (folder / f"{name}.tar").is_file()]


def _open(folder: Path, part: str) -> Found:
    file = f"{part}.tar"
    try:
        with (folder / file).open("rb") as opened:
            members = list(scan(opened))
    except (BadInput, OSError) as error:
        raise StoreError(f"{folder / file} cannot be read: {error}") from error
    found = [MEMBER.fullmatch(name) for name, _, _ in members]
    if not members or not all(found):
        raise MissingUpstream(f"{folder / file} is no tar of images called sample_000000.png: it is no store.")
    numbers = np.array([int(match[1]) for match in found if match], np.int64)
    offsets, sizes = (np.array([member[k] for member in members], np.int64) for k in (1, 2))
    names = [name.encode() for name, _, _ in members]

    def extents(files: StoreFiles, stem: str, _: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
        yield "image", Spans(file, offsets, sizes)
        yield "index", Values(file, lambda: numbers)
        yield "name", Blocks(file, np.zeros(1, np.int64), partial(_all, names))

    shard = Shard(part, len(members), (record_of(folder, file),))
    return Found(StoreInfo(FORMAT, FIELDS, (shard,), {}, {"kind": "pngs"}), extents)


def _all(names: list[bytes], block: int) -> list[bytes]:
    return names


PNGS = Kind(_parts, _open)
