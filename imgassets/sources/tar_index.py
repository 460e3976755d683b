"""The index of an image archive: one row per image, from one pass over the tar in which every image is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import xxhash

from imgassets.errors import BadInput
from imgassets.images.header import BadImage, ImageHeader
from imgassets.images.judge import inspect
from imgassets.sources.nested_tar import Member, Tape
from imgassets.sources.walk import is_stray

if TYPE_CHECKING:
    import pyarrow as pa

MAX_IMAGE = 64 << 20
"""Largest accepted image file in bytes: four times the largest of ILSVRC2012."""
TAKEN = ("jpg", "png", "bmp", "gif")
"""Kinds of images that TensorFlow decodes."""
SUFFIXES = (".jpeg", ".jpg", ".png")
BATCH, BATCH_BYTES = 32, 4 << 20
"""Images are decoded in batches of this many or this many bytes, so that handing them to a thread costs little."""


SHARD_COLUMNS = [
    *("name", "synset", "label", "width", "height", "colour", "format"),
    *("offset", "size", "xxh3_64", "problem"),
]
"""What `TarImages` reads of an index."""

Row = dict[str, Any]
Image = tuple[Member, bytes | None]


@dataclass
class Scanned:
    """What one pass over an archive found."""

    table: pa.Table
    """The index without index, synset, class_id and label."""
    groups: list[tuple[str, int]]
    """Synset and number of rows of each group, in the order of the rows."""
    strays: list[str] = field(default_factory=list)
    """Members that are no images by their name."""
    members: int = 0
    """All there are."""


@cache
def schema() -> pa.Schema:
    """Columns of the index; `width`, `height`, `colour` and `format` are null where `problem` is not."""
    import pyarrow as pa

    name = pa.dictionary(pa.int16(), pa.string())
    fields: list[pa.Field[Any]] = [
        pa.field("index", pa.int64(), False, {"description": "global index in the split, in sorted order"}),
        pa.field("synset", name, False, {"description": "WordNet id"}),
        pa.field("class_id", pa.int16(), False, {"description": "rank of the synset among the 1000, 0..999"}),
        pa.field("label", pa.int16(), False, {"description": "image/class/label of the TFRecords, from 1"}),
        pa.field("name", pa.string(), False, {"description": "file name"}),
        pa.field("offset", pa.int64(), False, {"description": "first byte of the image in the outer tar"}),
        pa.field("size", pa.int64(), False, {"description": "bytes of the image"}),
        pa.field("width", pa.int32(), True, {"description": "pixels"}),
        pa.field("height", pa.int32(), True, {"description": "pixels"}),
        pa.field("colour", name, True, {"description": "gray, rgb or cmyk"}),
        pa.field("format", name, True, {"description": "JPEG, PNG, BMP or GIF, by content"}),
        pa.field("md5", pa.string(), True, {"description": "of the image's bytes; null over 64 MiB"}),
        pa.field("xxh3_64", pa.uint64(), True, {"description": "checked when the image is read again"}),
        pa.field("warning", pa.string(), True, {"description": "what the decoder complained of, yet got over"}),
        pa.field("problem", pa.string(), True, {"description": "why the image is in no shard"}),
    ]
    return pa.schema(fields)


def scan(
    tape: Tape,
    groups: Iterable[tuple[str, Iterator[Member]]],
    *,
    workers: int,
    passed: Callable[[int], object] = lambda nbytes: None,
) -> Scanned:
    """Read every member once, decode it, and sort what was found by group and name.

    Args:
        tape: The archive; its digests are complete afterwards.
        groups: Synset and members of each group, in the order they lie in; one group is one row batch.
        workers: Threads that decode.
        passed: Told the bytes that were read.

    Raises:
        BadInput: two members of a group have the same file name, or whatever `tape` and `groups` raise.
    """
    import pyarrow as pa

    columns = pa.schema([f for f in schema() if f.name not in {"index", "synset", "class_id", "label"}])
    batches: list[tuple[str, pa.RecordBatch]] = []
    strays: list[str] = []
    count = 0

    def counted(members: Iterator[Member]) -> Iterator[Member]:
        nonlocal count
        for member in members:
            count += 1
            yield member

    slots = Semaphore(2 * workers)  # bounds what lies decoded or read ahead in memory
    with ThreadPoolExecutor(workers) as pool:
        for synset, members in groups:
            futures = []
            for batch in _batches(_images(tape, counted(members), strays)):
                passed(sum(member.size for member, _ in batch))
                slots.acquire()
                futures.append(pool.submit(_rows, batch))
                futures[-1].add_done_callback(lambda _: slots.release())
            batches.append((synset, _sorted(tape.path.name, futures, columns)))
    tape.finish()
    batches.sort(key=lambda item: item[0])
    table = pa.Table.from_batches([batch for _, batch in batches], columns).unify_dictionaries()
    return Scanned(table, [(synset, batch.num_rows) for synset, batch in batches], sorted(strays), count)


def label(
    found: Scanned, synsets: Sequence[str] | None, class_id: Callable[[str], int], order: Sequence[str]
) -> pa.Table:
    """The complete index.

    Args:
        found: What a scan found.
        synsets: The synset of each row, where the archive itself does not tell.
        class_id: Rank of a synset among the 1000.
        order: The synsets that labels 1, 2, … stand for.
    """
    import numpy as np
    import pyarrow as pa

    groups = found.groups if synsets is None else [(synset, 1) for synset in synsets]
    names = sorted({synset for synset, _ in groups})
    places = {name: place for place, name in enumerate(names)}
    codes = np.repeat([places[synset] for synset, _ in groups], [rows for _, rows in groups])
    labels = {synset: number for number, synset in enumerate(order, start=1)}
    numbers = {
        "index": np.arange(len(codes)),
        "class_id": np.array([class_id(name) for name in names])[codes],
        "label": np.array([labels[name] for name in names])[codes],
    }
    columns: dict[str, Any] = {
        name: pa.array(values).cast(schema().field(name).type) for name, values in numbers.items()
    }
    columns["synset"] = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), names)
    return pa.Table.from_arrays(
        [columns[name] if name in columns else found.table[name] for name in schema().names], schema=schema()
    )


def _images(tape: Tape, members: Iterator[Member], strays: list[str]) -> Iterator[tuple[Member, bytes | None]]:
    """Members and their bytes, read before the walk goes on, because a tape only goes forward."""
    for member in members:
        if is_stray(member.basename) or not member.basename.lower().endswith(SUFFIXES):
            strays.append(member.name)
        else:
            yield member, tape.read(member.offset, member.size) if member.size <= MAX_IMAGE else None


def _batches(images: Iterator[Image]) -> Iterator[list[Image]]:
    batch: list[Image] = []
    nbytes = 0
    for image in images:
        batch.append(image)
        nbytes += image[0].size
        if len(batch) == BATCH or nbytes >= BATCH_BYTES:
            yield batch
            batch, nbytes = [], 0
    if batch:
        yield batch


def _rows(batch: list[Image]) -> list[Row]:
    return [_row(member, blob) for member, blob in batch]


def _row(member: Member, blob: bytes | None) -> Row:
    row: Row = {"name": member.basename, "offset": member.offset, "size": member.size}
    if blob is None:
        return row | {"problem": f"has {member.size} bytes, more than the {MAX_IMAGE} an image may have"}
    row |= {"md5": hashlib.md5(blob, usedforsecurity=False).hexdigest(), "xxh3_64": xxhash.xxh3_64_intdigest(blob)}
    try:
        header = _taken(inspect(blob))
    except BadImage as error:
        return row | {"problem": str(error)}
    return row | {
        "width": header.width,
        "height": header.height,
        "colour": header.colour,
        "format": "JPEG" if header.kind == "jpg" else header.kind.upper(),
        "warning": header.warning,
    }


def _taken(header: ImageHeader) -> ImageHeader:
    """Itself; BadImage if no TFRecord may hold it."""
    if header.kind not in TAKEN:
        raise BadImage(f"is of the kind {header.kind}, expected JPEG, PNG, BMP or GIF")
    if header.frames > 1:
        raise BadImage("is animated, expected one picture")
    return header


def _sorted(archive: str, futures: list[Future[list[Row]]], columns: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    rows = sorted((row for future in futures for row in future.result()), key=lambda row: str(row["name"]))
    for one, two in pairwise(rows):
        if one["name"] == two["name"]:
            raise BadInput(f"{archive} holds two images named {one['name']!r} in different folders; repack it.")
    # Arrow's usual pool keeps as much again for the many small arrays of a thousand groups
    pool = pa.system_memory_pool()
    arrays = [pa.array([row.get(f.name) for row in rows], f.type, memory_pool=pool) for f in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


@dataclass(frozen=True, slots=True)
class TarImage:
    """An image of the index and its bytes."""

    name: str
    synset: str
    label: int
    width: int
    height: int
    ordinary: bool
    """Whether it is a JPEG of gray or RGB, not CMYK and no other format."""
    encoded: bytes


@dataclass(frozen=True)
class TarImages:
    """Rows of an index with their images, read from the archive when iterated over."""

    archive: Path
    rows: pa.Table

    @property
    def left_out(self) -> list[dict[str, str]]:
        """The rows that have a problem, as name and reason."""
        rows = zip(self.rows["name"].to_pylist(), self.rows["problem"].to_pylist(), strict=True)
        return [{"name": str(name), "reason": str(problem)} for name, problem in rows if problem is not None]

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return sum(int(size or 0) for size in self.rows["size"].to_pylist())

    def __len__(self) -> int:
        return len(self.rows) - len(self.left_out)

    def __iter__(self) -> Iterator[TarImage]:
        """The images without a problem, in the rows' order.

        Raises:
            BadInput: the archive is cut, or holds other bytes than when it was indexed.
        """
        columns = [self.rows[column].to_pylist() for column in SHARD_COLUMNS]
        with Tape(self.archive) as tape:
            for name, synset, label, width, height, colour, kind, offset, size, checksum, problem in zip(
                *columns, strict=True
            ):
                if problem is not None:
                    continue
                encoded = tape.read(offset, size)
                if xxhash.xxh3_64_intdigest(encoded) != checksum:
                    raise BadInput(
                        f"{self.archive} holds other bytes at {name} (byte {offset}) than when it was indexed: "
                        "materialize the tar index again if the archive was replaced, else copy the archive again."
                    )
                yield TarImage(name, synset, label, width, height, kind == "JPEG" and colour != "cmyk", encoded)
