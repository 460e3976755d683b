"""Reading a CSV sample back: to pixels, and to the proof that every byte of it is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets import documents
from imgassets.errors import MissingUpstream, StoreError
from imgassets.formats.systemds import MTD_KEYS, sample_names
from imgassets.formats.systemds_csv import CELLS, SIDECAR, encode, encode_onehot

CHUNK = 8 << 20


@dataclass(frozen=True)
class CsvFolder:
    """A CSV sample on disk; `open_sample` makes it."""

    folder: Path
    facts: dict[str, Any]

    @property
    def data(self) -> Path:
        """The data matrix."""
        return self.folder / str(self.facts["data"])

    @property
    def labels(self) -> Path:
        """The one-hot label matrix."""
        return self.folder / str(self.facts["labels"])

    @property
    def global_index(self) -> NDArray[np.int64]:
        """Global index of each row, int64 (rows,)."""
        return np.array(self.facts["global_index"], np.int64)

    def __len__(self) -> int:
        return int(self.facts["rows"])

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """The data rows as uint8 (n, width) blocks, each cell proven to be a pixel level's text; n varies.

        Raises StoreError naming the first row that is not made of such cells.
        """
        width, done = int(self.facts["width"]), 0
        for text in _lines(self.data):
            try:
                block = parse_rows(text, width)
            except ValueError as error:
                raise StoreError(f"{self.data}, after row {done}: {error}; materialize it again") from None
            done += len(block)
            yield block

    def columns(self) -> Iterator[NDArray[np.int64]]:
        """The label rows as the column of each row's one, int64 (n,), each row proven to be one-hot; n varies."""
        classes, done = int(self.facts["classes"]), 0
        with open(self.labels, "rb") as file:
            while text := file.read(CHUNK // (2 * classes) * 2 * classes):
                try:
                    columns = parse_onehot(text, classes)
                except ValueError as error:
                    raise StoreError(f"{self.labels}, after row {done}: {error}; materialize it again") from None
                done += len(columns)
                yield columns


def open_sample(folder: Path) -> CsvFolder:
    """The sample in `folder`, a partition's.

    Raises MissingUpstream if there is none, StoreError if its sidecar is damaged or names files it may not.
    """
    sidecar = folder / SIDECAR
    if not sidecar.is_file():
        raise MissingUpstream(f"{sidecar} does not exist: materialize the CSV sample first")
    try:
        facts = documents.parse(sidecar.read_bytes())
        names = facts["data"], facts["labels"]
        sound = names == sample_names(facts["split"], facts["size"], "csv")
        sound &= all(re.fullmatch(r"[\w.-]+", name) is not None for name in names)
        sound &= all(type(facts[key]) is int for key in ("rows", "width", "classes", "target_bytes", "available_rows"))
        sound &= facts["width"] > 0 and facts["classes"] > 0
        np.array(facts["global_index"], np.int64)
    except (ValueError, KeyError, TypeError, OverflowError):
        sound = False
    if not sound:
        raise StoreError(f"{sidecar} is not the sidecar of a CSV sample: materialize it again")
    return CsvFolder(folder, facts)


def parse_rows(text: bytes | memoryview, width: int) -> NDArray[np.uint8]:
    """Pixels, uint8 (n, width), of n whole lines of CSV text.

    Raises ValueError unless `text` is, byte for byte, what the encoder makes of the result.
    """
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw < ord("."))  # of all bytes in a sound text, only commas and newlines
    if len(ends) % width or (len(raw) and (not len(ends) or ends[-1] != len(raw) - 1)):
        raise ValueError(f"{len(ends)} cells in {len(raw)} bytes are not whole rows of {width}")
    starts = np.empty_like(ends)
    starts[:1], starts[1:] = 0, ends[:-1] + 1
    # Three digits after the point tell all levels apart; what else stands there is proven by encoding again.
    padded = np.concatenate((raw, np.zeros(4, np.uint8)))
    words = np.lib.stride_tricks.as_strided(padded[:1].view(np.uint8), (len(raw) + 1, 4), (1, 1)).view("<u4")[:, 0]
    block: NDArray[np.uint8] = _levels()[words[starts + 1] >> 8]
    short = np.flatnonzero(ends - starts == 1)
    block[short] = np.where(raw[starts[short]] == ord("1"), 255, 0)
    block = block.reshape(-1, width)
    made = np.frombuffer(encode(block), np.uint8)
    if not np.array_equal(made, raw):
        raise ValueError(_first_difference(bytes(text), bytes(made)))
    return block


def parse_onehot(text: bytes, classes: int) -> NDArray[np.int64]:
    """The column of the one in each of n one-hot lines, int64 (n,); ValueError unless `text` is n such lines."""
    raw = np.frombuffer(text, np.uint8)
    if len(raw) % (2 * classes):
        raise ValueError(f"{len(raw)} bytes are not whole rows of {2 * classes}")
    columns: NDArray[np.int64] = (raw.reshape(-1, 2 * classes)[:, ::2] == ord("1")).argmax(axis=1)
    if not np.array_equal(encode_onehot(columns, classes).reshape(-1), raw):
        raise ValueError("a row is not one-hot: expected cells 0 and exactly one 1")
    return columns


@cache
def _levels() -> NDArray[np.uint8]:
    """Pixel level by the three bytes after a cell's decimal point, as a little-endian number."""
    table = np.zeros(1 << 24, np.uint8)
    for level, cell in enumerate(CELLS):
        # a cell of fewer decimals is followed by a separator and the next cell, or by nothing
        for rest in (b",0", b",1", b"\n0", b"\n1", b"\n\0") if b"." in cell else ():
            table[int.from_bytes((cell + rest)[2:5], "little")] = level
    return table


def _first_difference(text: bytes, made: bytes) -> str:
    both = zip(text.split(b"\n"), made.split(b"\n"), strict=False)
    line, (found, _) = next((n, pair) for n, pair in enumerate(both) if pair[0] != pair[1])
    cells = found.split(b",")
    wrong = next((n for n, cell in enumerate(cells) if cell not in CELLS), 0)
    return f"line {line + 1} of these, cell {wrong + 1} is {cells[wrong][:20]!r}, not the text of any pixel level"


def _lines(path: Path) -> Iterator[memoryview]:
    """The file in parts of about `CHUNK` bytes that end with a newline (or with the file)."""
    with open(path, "rb", buffering=0) as file:
        rest = b""
        while part := file.read(CHUNK):
            end = part.rfind(b"\n") + 1
            if end:
                yield memoryview(rest + part[:end])
                rest = part[end:]
            else:
                rest += part
        if rest:
            yield memoryview(rest)


@dataclass(frozen=True)
class SampleNumbers:
    """What `check_sample` found; pixel levels are 0..255, of which the matrix holds 1/255."""

    rows: int
    width: int
    classes: int
    data_bytes: int
    label_bytes: int
    target_bytes: int
    short_by: int
    all_rows: bool
    lowest: int
    highest: int
    mean: float
    nnz: int
    classes_present: int
    fewest_of_a_class: int
    most_of_a_class: int


def check_sample(folder: Path) -> SampleNumbers:
    """Read every byte of a CSV sample and prove it sound; memory does not depend on its size.

    Proven: exactly one data and one label CSV; every data cell the exact text of a pixel level, so in [0, 1]; every
    label row one-hot; equal numbers of rows in both, both .mtd and the sidecar; .mtd keys that SystemDS knows, its nnz
    exact; no global index twice; data and labels within the target, and short of it by less than the longest possible
    row unless all rows are there. Raises StoreError at the first failure.
    """
    sample = open_sample(folder)
    facts = sample.facts
    found = sorted(path.name for path in folder.glob("imagenet_*.csv"))
    _expect(folder, found == sorted((sample.data.name, sample.labels.name)), f"holds {found}, expected one sample")
    levels = np.zeros(256, np.int64)
    for block in sample.pixels():
        levels += np.bincount(block.reshape(-1), minlength=256)
    rows = int(levels.sum()) // facts["width"]
    counts = np.zeros(facts["classes"], np.int64)
    for columns in sample.columns():
        counts += np.bincount(columns, minlength=facts["classes"])
    nnz = int(levels[1:].sum())
    data_bytes, label_bytes = sample.data.stat().st_size, sample.labels.stat().st_size
    index = sample.global_index
    _expect(sample.data, rows == len(sample) > 0, f"{rows} rows, its sidecar says {len(sample)}")
    _expect(sample.labels, counts.sum() == rows, f"{counts.sum()} rows, the data has {rows}")
    _expect(folder / SIDECAR, len(np.unique(index)) == len(index) == rows, f"lists other than {rows} distinct rows")
    recorded = tuple(facts.get(key) for key in ("data_bytes", "label_bytes", "data_nnz"))
    _expect(folder / SIDECAR, recorded == (data_bytes, label_bytes, nnz), f"says {recorded} of bytes and nnz")
    _check_mtd(sample.data, rows, facts["width"], nnz)
    _check_mtd(sample.labels, rows, facts["classes"], rows)
    target, all_rows = facts["target_bytes"], rows == facts["available_rows"]
    short = target - data_bytes - label_bytes
    longest = facts["width"] * (max(map(len, CELLS)) + 1) + 2 * facts["classes"]
    _expect(folder, short >= 0 and (all_rows or short < longest), f"{short} bytes short of the target of {target}")
    present = np.flatnonzero(levels)
    return SampleNumbers(
        rows=rows,
        width=facts["width"],
        classes=facts["classes"],
        data_bytes=data_bytes,
        label_bytes=label_bytes,
        target_bytes=target,
        short_by=short,
        all_rows=all_rows,
        lowest=int(present[0]),
        highest=int(present[-1]),
        mean=float(levels @ np.arange(256)) / int(levels.sum()),
        nnz=nnz,
        classes_present=int(np.count_nonzero(counts)),
        fewest_of_a_class=int(counts.min()),
        most_of_a_class=int(counts.max()),
    )


def _check_mtd(matrix: Path, rows: int, cols: int, nnz: int) -> None:
    path = matrix.with_name(matrix.name + ".mtd")
    try:
        meta = documents.parse(path.read_bytes())
    except (OSError, ValueError):
        meta = None
    _expect(path, isinstance(meta, dict), "is missing or not JSON")
    assert isinstance(meta, dict)
    _expect(path, set(meta) <= MTD_KEYS, f"has keys SystemDS refuses: {sorted(set(meta) - MTD_KEYS)}")
    want = {"data_type": "matrix", "value_type": "double", "format": "csv", "header": False, "sep": ","}
    want |= {"rows": rows, "cols": cols, "nnz": nnz}
    wrong = sorted(key for key in want if meta.get(key) != want[key] or type(meta[key]) is not type(want[key]))
    _expect(path, not wrong, f"is wrong in {wrong}: expected {[want[key] for key in wrong]}")


def _expect(path: Path, holds: bool | np.bool, otherwise: str) -> None:
    if not holds:
        raise StoreError(f"{path}: {otherwise}; materialize it again")
