"""What the real Apache SystemDS makes of our files; numpy is the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgassets.formats.systemds_binary import write_sample_blocks
from imgassets.formats.systemds_csv import SampleFacts, write_sample
from imgassets.sampling import quota_order
from tests.formats.systemds_rows import ArrayRows, images, new_stage
from tests.systemds import run_dml

WIDTH = 3 * 32 * 32

LOOK = """
X = read($x, format=$format)
Y = read($y, format=$format)
print("Training data: " + nrow(X) + " by " + ncol(X))
print("Training labels: " + nrow(Y) + " by " + ncol(Y))
"""
MEASURE = """
X = read($x)
Y = read($y)
U = round(255 * X)
down = seq(1, nrow(X)) %% 89 + 1
across = t(seq(1, ncol(X)) %% 97 + 1)
class = rowIndexMax(Y)
print("shape=" + nrow(X) + "," + ncol(X) + "," + nrow(Y) + "," + ncol(Y))
print("range=" + min(U) + "," + max(U) + "," + min(Y) + "," + max(Y))
print("levels=" + sum(U))
print("places=" + sum(U * (down %*% across)))
print("nonzero=" + sum(X != 0) + "," + sum(Y != 0))
print("onehot=" + min(rowSums(Y)) + "," + max(rowSums(Y)))
print("classes=" + sum(class) + "," + sum(class * down))
print("off=" + max(abs(255 * X - U)))
"""


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return images(1600, WIDTH, darkest=-40)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> tuple[Path, SampleFacts, np.ndarray]:
    """A sample of 1100 rows or so, more than one block high and wide, as CSV and as binary blocks."""
    folder = tmp_path_factory.mktemp("with space") / "train"
    columns = np.random.default_rng(0).integers(0, 1000, len(pixels))
    stage, rows = new_stage(folder), ArrayRows(pixels)
    order = quota_order(columns, 0)
    facts = write_sample(stage, rows, order, columns, split="train", gib=0.025)
    chosen = order[: facts.rows]
    write_sample_blocks(stage, rows, chosen, columns, split="train", size=facts.size)
    stage.publish({}, ())
    return folder, facts, np.column_stack((chosen, columns[chosen]))


def numbers(output: str) -> dict[str, list[float]]:
    lines = (line.partition("=") for line in output.splitlines() if "=" in line)
    return {key: [float(value) for value in values.split(",")] for key, _, values in lines}


@pytest.mark.parametrize("suffix", ["csv", "bin"])
def test_systemds_reads_what_numpy_wrote(
    sample: tuple[Path, SampleFacts, np.ndarray], pixels: np.ndarray, suffix: str
) -> None:
    folder, facts, table = sample
    chosen, columns = table.T
    assert 1000 < facts.rows < len(pixels)
    found = numbers(
        run_dml(MEASURE, folder, x=f"imagenet_train_0.025GB.{suffix}", y=f"imagenet_train_labels_0.025GB.{suffix}")
    )
    levels = pixels[chosen].astype(np.int64)
    down, across = np.arange(1, facts.rows + 1) % 89 + 1, np.arange(1, WIDTH + 1) % 97 + 1
    nnz = int(np.count_nonzero(levels))
    assert 0 < nnz < levels.size
    off = found.pop("off")[0]
    # half the distance of two float32 near 1, twice (the value's rounding and the text's), times 255
    assert off < 2 * 255 * 2.0**-25 * 1.01
    assert found == {
        "shape": [facts.rows, WIDTH, facts.rows, 1000],
        "range": [0, 255, 0, 1],
        "levels": [levels.sum()],
        "places": [down @ levels @ across],
        "nonzero": [nnz, facts.rows],
        "onehot": [1, 1],
        "classes": [(columns + 1).sum(), (columns + 1) @ down],
    }


@pytest.mark.parametrize(("suffix", "form"), [("csv", "csv"), ("bin", "binary")])
def test_the_pipelines_snippet_runs_in_the_folder(
    sample: tuple[Path, SampleFacts, np.ndarray], suffix: str, form: str
) -> None:
    folder, facts, _ = sample
    names = {"x": f"imagenet_train_0.025GB.{suffix}", "y": f"imagenet_train_labels_0.025GB.{suffix}"}
    output = run_dml(LOOK, folder, format=form, **names)
    assert f"Training data: {facts.rows} by {WIDTH}" in output
    assert f"Training labels: {facts.rows} by 1000" in output


def test_the_helper_notices_an_error_in_spite_of_exit_code_0(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("1,2\n3\n")
    with pytest.raises(AssertionError, match="An Error Occurred"):
        run_dml('print(sum(read("bad.csv", format="csv")))', tmp_path)
