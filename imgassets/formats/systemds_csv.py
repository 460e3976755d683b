"""Images and one-hot labels as the CSV matrices of Apache SystemDS, cut to a size in bytes.

A cell is the shortest decimal text that reads back as exactly float32(v)/255. Most of the time goes into the text of
hundreds of millions of cells; it is made by looking up two pixels at a time in a table of 65,536 texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput, StoreError
from imgassets.formats.systemds import (
    CLASSES,
    GIB,
    VALUES,
    RowSource,
    check_columns,
    mtd_bytes,
    sample_names,
    size_text,
    take,
)
from imgassets.threads import ordered

if TYPE_CHECKING:
    from imgassets.commit import Stage

BATCH = 64
"""Rows encoded at a time: 8 MB of text at 12,288 columns."""
LABEL_BATCH = 4096
CELLS = tuple(np.format_float_positional(v, unique=True, trim="-").encode() for v in VALUES)
"""Text of each pixel level, 1 to 11 bytes."""
CELL_BYTES = bytes(len(cell) + 1 for cell in CELLS)
"""Bytes of each pixel level's cell, its comma or newline included."""
CLASS_ORDER = "clsloc"
SIDECAR = "sample.json"


@dataclass(frozen=True)
class SampleFacts:
    """What a sample holds; bytes are of the two CSV files."""

    split: str
    size: str
    target_bytes: int
    rows: int
    available_rows: int
    width: int
    classes: int
    data_bytes: int
    label_bytes: int
    data_nnz: int

    @property
    def short_by(self) -> int:
        """Bytes left of the target: less than one row, unless `all_rows`."""
        return self.target_bytes - self.data_bytes - self.label_bytes

    @property
    def all_rows(self) -> bool:
        """Every row there is went into the sample, as the data is not larger than the target."""
        return self.rows == self.available_rows

    @property
    def names(self) -> tuple[str, str]:
        """Names of the data and the label file."""
        return sample_names(self.split, self.size, "csv")


@cache
def _pairs() -> Any:
    """Arrow binary array (65536,): the text of two pixels, indexed by both as one little-endian uint16."""
    import pyarrow as pa

    # 256 x 256 texts such as "0.5019608,1,", the low byte being the first pixel
    cells = [cell + b"," for cell in CELLS]
    return pa.array([low + high for high in cells for low in cells], type=pa.binary())


def encode(block: NDArray[np.uint8]) -> memoryview:
    """CSV text of `block`, uint8 (n, width) in C order: n lines of `width` cells, each ended by a newline.

    `width` must be even (3*r*r is, for even r) and the text below 2 GiB, else ValueError.
    """
    import pyarrow as pa

    n, width = block.shape
    if not n:
        return memoryview(b"")
    if width % 2 or not width:
        raise ValueError(f"rows of {width} values: the encoder works on pairs")
    if n * width * max(CELL_BYTES) >= 2**31:
        raise ValueError(f"{n} rows of {width} values in one batch exceed the 32-bit offsets of an Arrow array")
    text = _pairs().take(pa.array(block.view("<u2").reshape(-1)))
    _, offset_buffer, text_buffer = text.buffers()
    ends = np.frombuffer(offset_buffer, np.int32, n * (width // 2) + 1)[width // 2 :: width // 2]
    # The table ends each pair with a comma; the array is ours alone, so the last one of each row can be replaced.
    np.frombuffer(text_buffer, np.uint8)[ends - 1] = ord("\n")
    return memoryview(text_buffer)[: int(ends[-1])].cast("B")


def row_lengths(block: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Bytes of each row's line in the text of `block`, uint8 (n, width): int64 (n,), newlines included."""
    lengths = np.frombuffer(block.tobytes().translate(CELL_BYTES), np.uint8)
    total: NDArray[np.int64] = lengths.reshape(block.shape).sum(axis=1, dtype=np.int64)
    return total


def encode_onehot(columns: NDArray[np.integer], classes: int = CLASSES) -> NDArray[np.uint8]:
    """CSV text of one-hot rows, uint8 (n, 2*classes): a `1` in column `columns[i]` of row i, zeros elsewhere."""
    text = np.tile(np.frombuffer(b"0," * (classes - 1) + b"0\n", np.uint8), (len(columns), 1))
    text[np.arange(len(columns)), 2 * columns] = ord("1")
    return text


def most_rows(gib: float, width: int, classes: int = CLASSES) -> int:
    """Rows that fit if every cell were as short as can be: no sample of `gib` GiB needs more of the order."""
    return int(gib * GIB) // (min(CELL_BYTES) * width + 2 * classes)


def plan_sample(
    rows: RowSource,
    order: NDArray[np.int64],
    split: str,
    gib: float,
    classes: int = CLASSES,
    threads: int = 2,
) -> SampleFacts:
    """Count how many rows of `order` fit into `gib` GiB of data and label text, exactly, and what they amount to.

    Reads the rows that fit and at most a few batches more. Raises BadInput if the size is not a size, or not one row
    fits; ValueError if `order` ends before the sample does.
    """
    size, target = size_text(gib), int(gib * GIB)
    label_row = 2 * classes

    def measure(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        block = take(rows, order[start : start + BATCH])
        return row_lengths(block), np.array([np.count_nonzero(row) for row in block])

    count = data = nnz = 0
    measured = ordered(measure, range(0, len(order), BATCH), threads, 2 * threads)
    for lengths, nonzero in measured:
        room = target - data - count * label_row
        fitting = int(np.searchsorted(np.cumsum(lengths + label_row), room, side="right"))
        count += fitting
        data += int(lengths[:fitting].sum())
        nnz += int(nonzero[:fitting].sum())
        if fitting < len(lengths):
            if not count:
                raise BadInput(
                    f"a CSV sample of {size} GiB is {target} bytes and the first row of {split} alone takes "
                    f"{lengths[0] + label_row}: ask for a larger size"
                )
            break
    else:
        if not len(rows):
            raise BadInput(f"no rows in {split}: expected at least one image")
        if count < len(rows):
            raise ValueError(f"the order ends after {count} of {len(rows)} rows, before {target} bytes are full")
    return SampleFacts(split, size, target, count, len(rows), rows.width, classes, data, count * label_row, nnz)


def write_sample(
    stage: Stage,
    rows: RowSource,
    order: NDArray[np.int64],
    columns: NDArray[np.integer],
    *,
    split: str,
    gib: float,
    classes: int = CLASSES,
    threads: int = 2,
    notes: Mapping[str, Any] | None = None,
) -> SampleFacts:
    """Write the longest prefix of `order` that fits into `gib` GiB of data and labels, or all rows if they are less.

    `order` is int64 (m,), distinct global indices, m = len(rows) or at least `most_rows`; `columns` is integer
    (len(rows),), the one-hot column of each row by global index. The stage receives

    - `imagenet_<split>_<size>GB.csv`: one line per row, `rows.width` cells of float32(v)/255;
    - `imagenet_<split>_labels_<size>GB.csv`: one line of `classes` cells per row, in the same order;
    - a `.mtd` beside each;
    - `sample.json`: these facts, `notes`, the class order, and the global index of every row in order.

    Rows are encoded by `threads` threads, a bounded number of batches ahead of the writing. Files that an earlier
    attempt finished are not written again. Raises BadInput for a size that is none or too small for one row and for
    columns out of range, StoreError if the rows change while they are read.
    """
    check_columns(columns, rows, classes)
    facts = plan_sample(rows, order, split, gib, classes, threads)
    stage.need(facts.data_bytes + facts.label_bytes)
    data_name, label_name = facts.names
    chosen = order[: facts.rows]

    def text(start: int) -> memoryview:
        return encode(take(rows, chosen[start : start + BATCH]))

    if not stage.finished(data_name):
        with stage.create(data_name) as sink:
            for part in ordered(text, range(0, facts.rows, BATCH), threads, 2 * threads):
                sink.write(part)
            if sink.tell() != facts.data_bytes:
                raise StoreError(
                    f"{data_name}: {sink.tell()} bytes where {facts.data_bytes} were counted beforehand: "
                    "the images changed while they were read; run again"
                )
    if not stage.finished(label_name):
        with stage.create(label_name) as sink:
            for start in range(0, facts.rows, LABEL_BATCH):
                sink.write(encode_onehot(columns[chosen[start : start + LABEL_BATCH]], classes).data)
    csv = {"format": "csv", "header": False, "sep": ","}
    _write_small(stage, data_name + ".mtd", [mtd_bytes(facts.rows, facts.width, facts.data_nnz, **csv)])
    _write_small(stage, label_name + ".mtd", [mtd_bytes(facts.rows, classes, facts.rows, **csv)])
    _write_small(stage, SIDECAR, _sidecar(facts, chosen, notes or {}))
    return facts


def _write_small(stage: Stage, name: str, parts: Iterator[bytes] | list[bytes]) -> None:
    if not stage.finished(name):
        with stage.create(name) as sink:
            for part in parts:
                sink.write(part)


def _sidecar(facts: SampleFacts, chosen: NDArray[np.int64], notes: Mapping[str, Any]) -> Iterator[bytes]:
    head = {
        **asdict(facts),
        "data": facts.names[0],
        "labels": facts.names[1],
        "cell": "float32(v) / 255",
        "class_order": CLASS_ORDER,
        "class_order_means": "label column = ILSVRC devkit label - 1",
        "notes": dict(notes),
    }
    yield json.dumps(head, indent=2)[:-2].encode() + b',\n  "global_index": ['
    for start in range(0, len(chosen), LABEL_BATCH):
        comma = "," if start else ""
        yield (comma + ",".join(map(str, chosen[start : start + LABEL_BATCH].tolist()))).encode()
    yield b"]\n}\n"
