"""What an NPZ dataset's artifacts weigh, told from headers."""

from collections.abc import Sequence

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.formats.systemds import CLASSES, GIB
from imgassets.formats.systemds_binary import matrix_bytes
from imgassets.formats.systemds_csv import CELL_BYTES
from imgassets.io.artifacts import Artifact, Estimate
from imgassets.sources.arrays import ArraySource
from imgassets.sources.imagenet_npz import NpzBatch

INDEX_BYTES = (14_000, 9.85)
"""Of an index: schema, class names and report; and of each row (measured on 128,000 rows of random labels)."""
NPY_HEADER = 128
"""numpy.lib.format pads a header this short to 128 bytes."""
SAMPLE_JSON = (9_000, 8)
"""Of a sample's sidecar: rows per class; and a global index of each row."""
MATRIX_FILES = 310
"""Two .mtd files."""
WORKING_SET = 200 * 2**20
"""Of any of them: no batch is held, only blocks of it, and the labels of a split."""


def index_estimate(batch: NpzBatch) -> Estimate:
    """An index: it compresses, so its size is that of batches measured before."""
    fixed, each = INDEX_BYTES
    return Estimate(int(fixed + each * batch.rows), rows=batch.rows, memory=WORKING_SET)


def arrays_estimate(batch: NpzBatch) -> Estimate:
    """Arrays, to the byte."""
    return Estimate(2 * NPY_HEADER + batch.rows * (batch.row_bytes + 8), rows=batch.rows, memory=WORKING_SET)


def arrays_like(parts: Sequence[Artifact], resolution: int) -> ArraySource:
    """A source like that of the arrays, whether they are there or not; it takes no memory."""
    counts = [int(part.manifest.facts["rows"]) for part in parts]
    image, label = np.zeros((1, 3, resolution, resolution), np.uint8), np.zeros(1, np.int64)
    classes = imagenet_classes().class_to_idx
    empty = [(np.broadcast_to(image, (n, *image.shape[1:])), np.broadcast_to(label, (n,))) for n in counts]
    return ArraySource(empty, class_to_idx=classes)


def sample_estimate(parts: Sequence[Artifact], width: int, gib: float, binary_block: bool) -> Estimate:
    """A sample: the size that was asked for, or all rows, whose text is taken to be as long as that of even pixels."""
    available = sum(int(part.manifest.facts["rows"]) for part in parts)
    row = width * float(np.mean(list(CELL_BYTES))) + 2 * CLASSES
    rows = min(int(gib * GIB / row), available)
    text = gib * GIB if rows < available else rows * row
    blocks = matrix_bytes(rows, width) + matrix_bytes(rows, CLASSES) if binary_block else 0
    fixed, each = SAMPLE_JSON
    write = int(text + blocks + fixed + each * rows + MATRIX_FILES)
    return Estimate(write, rows, read=2 * rows * (width + 8), memory=WORKING_SET)
