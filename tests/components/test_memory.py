"""Peak memory of each asset at the size of the full release, and at twice that size."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROWS = 128_116
"""Of a batch of the full release."""
LIMIT = 600e6
NOISE = 60e6
ASSETS = ("npz_index", "arrays", "csv_sample")

MEASURE = """
import json, re, sys
from pathlib import Path

import numpy, pyarrow, pyarrow.parquet, PIL.Image
import dagster as dg
import imgassets.definitions
from tests.components.imagenet import graph

def peak():
    # of this program alone: what getrusage says begins with the peak of the program that started it
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

before = peak()
partition = "train" if sys.argv[2] == "csv_sample" else "train_data_batch_1"
with graph(Path(sys.argv[1]), name="big", train_batches=[1], val=False, csv_size_gb=0.2) as big:
    result = big.run(sys.argv[2], partition)
    assert result.success, result.failure
    assert all(found.passed for found in result.checks.values()), result.checks
    rows = result.metadata[partition]["dagster/row_count"]
print(json.dumps({"beyond imports": peak() - before, "rows": rows, "checks": len(result.checks)}))
"""


def write_batch(path: Path, rows: int) -> None:
    """A stored batch as `np.savez` writes it: noise, other noise in every block."""
    rng = np.random.default_rng(0)
    block = rng.integers(0, 256, (1024, 12288), np.uint8)
    labels = rng.permutation(np.arange(rows) % 1000 + 1)
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("data.npy", "w", force_zip64=True) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 12288)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, rows, len(block)):
                file.write((block[: rows - start] + np.uint8(start // len(block) % 256)).data)
        with archive.open("labels.npy", "w") as file:
            np.lib.format.write_array(file, labels, allow_pickle=False)


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """Bytes beyond imports, by rows and asset, each asset in a process of its own."""
    found: dict[int, dict[str, float]] = {}
    for rows in (ROWS, 2 * ROWS):
        folder = tmp_path_factory.mktemp(f"rows_{rows}")
        write_batch(folder / "raw" / "big" / "train_data_batch_1.npz", rows)
        found[rows] = {}
        for asset in ASSETS:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", MEASURE, folder, asset],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-4000:]
            numbers = json.loads(done.stdout.splitlines()[-1])
            assert numbers["rows"] == rows or asset == "csv_sample"
            assert numbers["checks"] >= 2
            found[rows][asset] = numbers["beyond imports"]
        for path in folder.rglob("*.np[yz]"):
            path.unlink()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("asset", ASSETS)
def test_peak_memory_does_not_grow_with_the_data(peaks: dict[int, dict[str, float]], asset: str) -> None:
    once, twice = peaks[ROWS][asset], peaks[2 * ROWS][asset]
    print(f"{asset}: {once / 1e6:.0f} MB beyond imports, {twice / 1e6:.0f} MB for twice the rows")
    assert once < LIMIT
    assert twice < once + NOISE
