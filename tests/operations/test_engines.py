"""Backfills through other processes: the same bytes, records and errors."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from imgassets.cli import main
from imgassets.engines import processes
from imgassets.operations.selection import definitions
from tests.operations.conftest import SMALL, Home

BATCHES = ("train_data_batch_1..train_data_batch_3",)


@pytest.mark.slow
def test_processes_make_the_same_bytes(home: Home) -> None:
    (home.raw / "train_data_batch_3.npz").write_bytes(b"no zip file")
    made = {}
    try:
        for engine in ("local", "processes:2"):
            (outcome,) = home.json(
                "backfill", "imagenet64/npz_index", "--partitions", *BATCHES, "--force", "--engine", engine, code=1
            )
            made[engine] = outcome, home.content()
    finally:
        processes.close()
    assert made["local"] == made["processes:2"]
    assert made["local"][0]["built"] == ["train_data_batch_1", "train_data_batch_2"]
    assert list(made["local"][0]["failed"]) == ["train_data_batch_3"]


@pytest.mark.slow
def test_settings_and_upstream_reach_them(home: Home) -> None:
    home.run("backfill", "+imagenet64/arrays", "--json")
    made = []
    try:
        for engine in ("local", "processes:2"):
            home.run("backfill", "imagenet64/csv_sample", *SMALL, "--force", "--engine", engine, "--json")
            made.append(home.content())
    finally:
        processes.close()
    assert made[0] == made[1]
    assert any("csv_sample" in name for name in made[0])


def test_an_engine_that_does_not_exist(home: Home) -> None:
    result = CliRunner().invoke(main, ["backfill", "imagenet64/npz_index", "--engine", "cluster"])
    assert result.exit_code != 0
    assert "expected local, processes or processes:4" in result.output


def test_a_run_can_name_its_engine(home: Home) -> None:
    assert "engine" in (definitions().resources or {})
