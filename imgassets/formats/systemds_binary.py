"""Matrices in the binary-block format of Apache SystemDS: a Hadoop SequenceFile (version 6) of float64 blocks.

All numbers are big-endian. The file starts with `SEQ` and the version, the class names of key and value (each after its
length), two zero bytes (no compression), a zero int32 (no metadata) and 16 bytes that mark a place where a reader may
start. A record is the int32 lengths of record and key; the key, int64 row and column of the block, from 1; the value,
int32 rows and columns, a byte 3 (dense), and the cells row by row. Before each record but the first stands an int32 -1
and the mark. Read in SystemDS 3.4.0 (org.apache.sysds.runtime.matrix.data.MatrixBlock) and Hadoop's SequenceFile.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import StoreError
from imgassets.formats.systemds import (
    CLASSES,
    VALUES,
    RowSource,
    check_columns,
    mtd_bytes,
    sample_names,
    take,
)
from imgassets.threads import ordered

if TYPE_CHECKING:
    from imgassets.commit import Sink, Stage

BLOCK = 1000
"""Rows and columns of a block: what SystemDS itself writes."""
MARK = hashlib.blake2b(b"imgassets binary block", digest_size=16).digest()
"""Hadoop draws its mark at random; ours is the same each time, so equal matrices are equal files."""
_CLASS = b"org.apache.sysds.runtime.matrix.data."
_NAMES = [_CLASS + b"MatrixIndexes", _CLASS + b"MatrixBlock"]
HEADER = b"SEQ\x06" + b"".join(bytes([len(name)]) + name for name in _NAMES) + bytes(2) + bytes(4) + MARK
_RECORD = struct.Struct(">iiqqiib")
_SYNC = struct.pack(">i", -1) + MARK
_DENSE = 3


def matrix_bytes(rows: int, cols: int) -> int:
    """Size of the file of a matrix of `rows` x `cols`."""
    blocks = -(-rows // BLOCK) * -(-cols // BLOCK)
    return len(HEADER) + blocks * (_RECORD.size + len(_SYNC)) - (len(_SYNC) if blocks else 0) + 8 * rows * cols


def write_matrix(sink: Sink, bands: Iterable[NDArray[np.uint8]]) -> int:
    """Write a matrix of float32(v)/255 from its rows v, and return its number of nonzero cells.

    `bands` are uint8 (1000, columns) arrays, of which the last may be lower. Memory: one band, and 8 MB for a block.
    """
    sink.write(HEADER)
    cells = VALUES.astype(">f8").view(np.uint64)
    scratch = np.empty(BLOCK * BLOCK, np.uint64)
    nnz = 0
    for number, band in enumerate(bands):
        columns = band.shape[1]
        nnz += int(np.count_nonzero(band))
        for column in range(0, columns, BLOCK):
            levels = band[:, column : column + BLOCK]
            block = scratch[: levels.size].reshape(levels.shape)
            np.take(cells, levels, out=block, mode="clip")  # clip: without it numpy copies `out` to be safe
            length = _RECORD.size - 8 + block.nbytes
            record = _RECORD.pack(length, 16, number + 1, column // BLOCK + 1, *levels.shape, _DENSE)
            sink.write(_SYNC + record if number or column else record)
            sink.write(block.data)
    return nnz


def _onehot(columns: NDArray[np.integer], classes: int) -> Iterator[NDArray[np.uint8]]:
    """Bands of one-hot rows; level 255 is the value 1."""
    for start in range(0, len(columns), BLOCK):
        part = columns[start : start + BLOCK]
        band = np.zeros((len(part), classes), np.uint8)
        band[np.arange(len(part)), part] = 255
        yield band


def write_sample_blocks(
    stage: Stage,
    rows: RowSource,
    chosen: NDArray[np.int64],
    columns: NDArray[np.integer],
    *,
    split: str,
    size: str,
    classes: int = CLASSES,
) -> tuple[str, str]:
    """Write rows `chosen` and their labels as `imagenet_<split>[_labels]_<size>GB.bin`, a `.mtd` beside each.

    `columns` is integer (len(rows),), the one-hot column of each row by global index. `size` is what the names carry,
    the CSV sample's, though a cell takes 8 bytes here. Files that an earlier attempt finished are not written again.
    Returns the two names. Raises BadInput for columns out of range.
    """
    check_columns(columns, rows, classes)
    data_name, label_name = sample_names(split, size, "bin")
    stage.need(matrix_bytes(len(chosen), rows.width) + matrix_bytes(len(chosen), classes))

    def read(start: int) -> NDArray[np.uint8]:
        return take(rows, chosen[start : start + BLOCK])

    pixels = ordered(read, range(0, len(chosen), BLOCK), threads=1, ahead=2)
    _write_with_mtd(stage, data_name, pixels, len(chosen), rows.width)
    _write_with_mtd(stage, label_name, _onehot(columns[chosen], classes), len(chosen), classes)
    return data_name, label_name


def _write_with_mtd(stage: Stage, name: str, bands: Iterator[NDArray[np.uint8]], rows: int, columns: int) -> None:
    # The number of nonzero cells is known once all are written, so the .mtd is what tells that they were.
    if stage.finished(name) and stage.finished(name + ".mtd"):
        return
    with stage.create(name) as sink:
        nnz = write_matrix(sink, bands)
    with stage.create(name + ".mtd") as sink:
        sink.write(mtd_bytes(rows, columns, nnz, format="binary", rows_in_block=BLOCK, cols_in_block=BLOCK))


def read_blocks(path: Path) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Blocks of a matrix file in the order they stand in: (first row, first column, float64 (rows, columns)).

    Raises StoreError if the file is not as `HEADER` and dense records make it, or ends early.
    """
    with open(path, "rb") as file:
        if file.read(len(HEADER)) != HEADER:
            raise StoreError(f"{path} does not start like a SystemDS matrix of ours: make it again")
        first = True
        while head := file.read(_RECORD.size if first else len(_SYNC) + _RECORD.size):
            try:
                length, key, row, column, height, width, kind = _RECORD.unpack(head[-_RECORD.size :])
            except struct.error:
                raise StoreError(f"{path} ends in the middle of a record: make it again") from None
            sound = length == _RECORD.size - 8 + 8 * height * width and key == 16 and kind == _DENSE
            if not (sound and (first or head.startswith(_SYNC)) and 0 < height <= BLOCK and 0 < width <= BLOCK):
                raise StoreError(f"{path} holds a damaged record before byte {file.tell()}: make it again")
            cells = file.read(8 * height * width)
            if len(cells) != 8 * height * width:
                raise StoreError(f"{path} ends in the middle of a block: make it again")
            block = np.frombuffer(cells, ">f8").reshape(height, width).astype(np.float64)
            yield (row - 1) * BLOCK, (column - 1) * BLOCK, block
            first = False
