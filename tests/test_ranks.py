"""Rank and world size: given, of torch.distributed, of a launcher's variables."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch.distributed as dist  # noqa: TID253

from imgassets import convert, ranks
from imgassets.compat import CustomDistributedSampler
from imgassets.errors import BadInput
from imgassets.ranks import environment_rank, job_rank
from imgassets.testing.making import folder


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    ranks._say.cache_clear()


def test_variables() -> None:
    assert environment_rank({}) == (0, 1)
    assert environment_rank({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == (3, 8)
    assert environment_rank({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == (1, 2)
    assert environment_rank({"SLURM_NTASKS": "8"}) == (0, 1)  # a shell of salloc's, no task


@pytest.mark.parametrize("values", [("x", "2"), ("1", ""), ("-1", "2"), ("2", "2"), ("0", "0"), ("²", "3")])
@pytest.mark.parametrize("names", ranks.VARIABLES)
def test_malformed_variables_are_named(names: tuple[str, str], values: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match=re.escape(f"{names[0]}={values[0]!r} and {names[1]}={values[1]!r}")):
        environment_rank(dict(zip(names, values, strict=True)))


def test_torch_distributed_comes_before_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert job_rank() == (1, 2)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert job_rank() == (0, 1)
    finally:
        dist.destroy_process_group()


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert job_rank(0, 1) == (0, 1)
    for half in ({"rank": 1}, {"world_size": 4}):
        with pytest.raises(BadInput, match="both, or neither"):
            job_rank(**half)
    with pytest.raises(BadInput, match="rank 3 is not within world_size 3"):
        job_rank(3, 3)


def test_it_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    for _ in range(3):
        job_rank()
    job_rank(1, 2)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "this process is rank 3 of 8, says SLURM_PROCID and SLURM_NTASKS")
    ]


def test_all_ask_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    sampler = CustomDistributedSampler(range(10), 5)
    assert (sampler.rank, sampler.num_replicas) == (1, 2)
    monkeypatch.setenv("RANK", "one")
    for call in (
        lambda: convert(folder(tmp_path / "in"), tmp_path / "out"),
        lambda: CustomDistributedSampler(range(10), 5),
    ):
        with pytest.raises(BadInput, match="RANK='one'"):
            call()
