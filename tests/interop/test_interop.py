"""Stores and their loader under other people's trainers, each in the environment that `make .venv/interop` makes."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets.sources.arrays import ArraySource
from imgassets.testing.making import make

ROOT = Path(__file__).parents[2]
VARIABLE = "IMGASSETS_INTEROP_PYTHON"
PYTHON = Path(os.environ.get(VARIABLE) or ROOT / ".venv" / "interop" / "bin" / "python")
MISSING = f"no Lightning: run `make .venv/interop`, or let {VARIABLE} name a Python that has it"
BATCH = 4
QUIET = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON.exists(), reason=MISSING)]


def numbered(folder: Path, rows: int) -> Path:
    """A store whose labels are the numbers of its rows."""
    images = np.zeros((rows, 3, 4, 4), np.uint8)
    return make(folder, ArraySource([(images, np.arange(rows))]), "memmap")


def run(out: Path, *command: Any) -> list[Any]:
    """What each rank of a program wrote, by rank."""
    out.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    found = subprocess.run(
        [PYTHON, *map(str, command)], cwd=out, env=environment | QUIET, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]


def fit(out: Path, store: Path, trainer: dict[str, Any], **given: Any) -> list[Any]:
    settings = {"store": str(store), "out": str(out), "batch_size": BATCH, "trainer": trainer, **given}
    return run(out, Path(__file__).parent / "lightning_run.py", json.dumps(settings))


def test_lightning_trains_on_every_row_of_every_epoch(tmp_path: Path) -> None:
    (seen,) = fit(tmp_path / "out", numbered(tmp_path, 50), {"devices": 1, "max_epochs": 4, "limit_val_batches": 3})
    assert list(seen["train"]) == list("0123")
    assert all(sorted(rows) == list(range(50)) for rows in seen["train"].values())
    assert len({tuple(rows) for rows in seen["train"].values()}) == 4
    assert seen["val"] == {epoch: list(range(3 * BATCH)) for epoch in "0123"}  # after the sanity check's two batches


@pytest.mark.parametrize("stop", [5, 13, 18])
def test_lightning_resumes_where_it_was(tmp_path: Path, stop: int) -> None:
    store = numbered(tmp_path, 50)  # 13 steps an epoch
    (wanted,) = fit(tmp_path / "whole", store, {"devices": 1, "max_epochs": 3})
    (first,) = fit(tmp_path / "first", store, {"devices": 1, "max_steps": stop, "max_epochs": 3}, save_every=stop)
    saved = str(tmp_path / "first" / "saved.ckpt")
    (second,) = fit(tmp_path / "second", store, {"devices": 1, "max_epochs": 3}, resume=saved)
    together = {e: first["train"].get(e, []) + second["train"].get(e, []) for e in wanted["train"]}
    assert together == wanted["train"]


def test_lightning_epochs_cut_short_are_resumed_by_the_next(tmp_path: Path) -> None:
    store, cut = numbered(tmp_path, 50), {"devices": 1, "limit_train_batches": 3}
    (wanted,) = fit(tmp_path / "whole", store, {**cut, "max_epochs": 3})
    (first,) = fit(tmp_path / "first", store, {**cut, "max_epochs": 2}, save_every=6)
    (second,) = fit(tmp_path / "second", store, {**cut, "max_epochs": 3}, resume=str(tmp_path / "first" / "saved.ckpt"))
    assert first["train"] | second["train"] == wanted["train"]


def test_two_ranks_of_lightning_take_the_same_steps(tmp_path: Path) -> None:
    rows = 3 * BATCH * 2 + 1  # the last row alone would be a step of one rank, and the other would wait
    ranks = fit(tmp_path / "out", numbered(tmp_path, rows), {"devices": 2, "strategy": "ddp", "max_epochs": 3})
    for epoch in "012":
        parts = [rank["train"][epoch] for rank in ranks]
        assert sorted(map(len, parts)) == [12, 13]
        assert sorted(chain.from_iterable(parts)) == list(range(rows))


@pytest.mark.parametrize("world", [1, 2])
def test_accelerate(tmp_path: Path, world: int) -> None:
    rows = 3 * BATCH * world + (world > 1)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", world] if world > 1 else []
    program = Path(__file__).parent / "accelerate_run.py"
    ranks = run(tmp_path / "out", *launch, program, numbered(tmp_path, rows), tmp_path / "out")
    assert len(ranks) == world
    for epoch in range(2):
        assert sorted(row for rank in ranks for batch in rank["epochs"][epoch] for row in batch) == list(range(rows))
    for rank in ranks:
        assert rank["epochs"][0] != rank["epochs"][1]
        assert rank["rest"] == rank["epochs"][1][2:]


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_resumes_over_a_store(tmp_path: Path, workers: int) -> None:
    program = Path(__file__).parent / "torchdata_run.py"
    (found,) = run(tmp_path / "out", program, numbered(tmp_path, 50), tmp_path / "out", workers)
    shuffled, listed = [list(chain.from_iterable(batches)) for batches in found]
    assert sorted(shuffled) == listed == list(range(50))
    assert all([len(batch) for batch in batches] == [BATCH] * 12 + [2] for batches in found)
