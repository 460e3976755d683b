"""Epochs: every row once, exact shares for any world, a state that goes on anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.store import open_store
from imgassets.store.loader import Loader, Share, environment_rank, epoch_order
from tests.store.making import arrays, make


class Rows:
    """A store whose batches are the row numbers themselves."""

    image_bytes = None

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def collated(self, rows: Any, flat: torch.Tensor | None = None) -> list[int]:
        return rows.tolist()

    def block_rows(self) -> int | None:
        return None


def flat(batches: Any) -> list[int]:
    return [row for batch in batches for row in batch]


@given(
    rows=st.integers(0, 300),
    batch=st.integers(1, 40),
    world=st.integers(1, 9),
    shuffle=st.sampled_from([False, True, "block"]),
)
@settings(deadline=None, max_examples=40)
def test_every_row_once_over_all_ranks(rows: int, batch: int, world: int, shuffle: Any) -> None:
    loaders = [Loader(Rows(rows), batch, shuffle=shuffle, seed=3, rank=r, world_size=world) for r in range(world)]
    lengths = [len(loader) for loader in loaders]
    found = [list(loader) for loader in loaders]
    assert sorted(row for batches in found for row in flat(batches)) == list(range(rows))
    assert [len(batches) for batches in found] == lengths
    assert max(lengths) - min(lengths) <= 1
    assert all(0 < len(b) <= batch for batches in found for b in batches)


@given(rows=st.integers(0, 200), batch=st.integers(1, 30), world=st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_drop_last_gives_all_ranks_the_same_full_batches(rows: int, batch: int, world: int) -> None:
    loaders = [Loader(Rows(rows), batch, rank=r, world_size=world, drop_last=True) for r in range(world)]
    lengths = [len(loader) for loader in loaders]
    found = [list(loader) for loader in loaders]
    assert [len(batches) for batches in found] == lengths == [rows // (batch * world)] * world
    assert all(len(b) == batch for batches in found for b in batches)


@given(
    rows=st.integers(1, 300),
    first=st.tuples(st.integers(1, 20), st.integers(1, 5)),
    second=st.tuples(st.integers(1, 20), st.integers(1, 5)),
    steps=st.integers(0, 12),
)
@settings(deadline=None, max_examples=40)
def test_a_state_goes_on_in_another_world(
    rows: int, first: tuple[int, int], second: tuple[int, int], steps: int
) -> None:
    seen: list[int] = []
    states = []
    for rank in range(first[1]):
        loader = Loader(Rows(rows), first[0], shuffle=True, seed=1, rank=rank, world_size=first[1])
        batches = iter(loader)
        for _ in range(min(steps, rows // (first[0] * first[1]))):
            seen += next(batches)
        batches.close()
        states.append(loader.state_dict())
    assert all(state == states[0] for state in states)
    for rank in range(second[1]):
        loader = Loader(Rows(rows), second[0], shuffle=True, seed=99, rank=rank, world_size=second[1])
        loader.load_state_dict(states[0])
        seen += flat(loader)
    assert sorted(seen) == list(range(rows))


def test_epochs_differ_and_repeat() -> None:
    loader = Loader(Rows(100), 7, shuffle=True, seed=5)
    first, second = flat(loader), flat(loader)
    assert first != second
    loader.set_epoch(0)
    assert flat(loader) == first
    assert flat(Loader(Rows(100), 13, shuffle=True, seed=5)) == first
    assert flat(Loader(Rows(100), 13, shuffle=True, seed=6)) != first


def test_leaving_early_stays_in_the_epoch() -> None:
    loader = Loader(Rows(20), 6)
    assert next(iter(loader)) == list(range(6))
    assert len(loader) == 3
    assert flat(loader) == list(range(6, 20))
    assert loader.state_dict()["epoch"] == 1


def test_a_shuffle_is_uniform() -> None:
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        counts[np.arange(6), epoch_order(6, True, 0, epoch)] += 1
    assert abs(counts - 500).max() < 110  # five standard deviations of a binomial(3000, 1/6)


def test_block_shuffle_reads_neighbours_together() -> None:
    order = epoch_order(100_000, "block", 0, 0, block=100)
    assert sorted(order.tolist()) == list(range(100_000))
    assert (order != np.arange(100_000)).mean() > 0.99
    window = order[:1600] // 100
    assert len(set(window.tolist())) == 16


def test_kept_batches_are_never_written_over(tmp_path: Path) -> None:
    source = arrays(200, (3, 4, 4))
    store = open_store(make(tmp_path, source, "memmap", images_per_file=37))
    loader = store.loader(9, shuffle=True, threads=3)
    views = [(images[1:3], images.clone(), labels) for images, labels in loader]  # a view keeps its memory alone
    for view, images, _ in views:
        assert torch.equal(view, images[1:3])
    seen = torch.cat([labels for *_, labels in views])
    assert sorted(seen.tolist()) == sorted(store.labels.tolist())


def test_memory_is_used_again(tmp_path: Path) -> None:
    store = open_store(make(tmp_path, arrays(300, (3, 4, 4)), "memmap"))
    places = set()
    for images, _ in store.loader(8, threads=1, prefetch=1):
        places.add(images.data_ptr())
        del images
    assert len(places) <= 12  # of 38: four are fetched at once, one time ahead


def test_errors_come_out() -> None:
    class Broken(Rows):
        def collated(self, rows: Any, flat: torch.Tensor | None = None) -> list[int]:
            if 5 in rows:
                raise OSError("the disk is gone")
            return super().collated(rows)

    loader = Loader(Broken(20), 4)
    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(loader)
    assert loader.state_dict()["used"] == 4


@pytest.mark.parametrize(
    "settings", [{"batch_size": 0}, {"threads": 0}, {"prefetch": 0}, {"rank": 2, "world_size": 2}, {"rank": -1}]
)
def test_wrong_settings(settings: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        Loader(Rows(3), **{"batch_size": 1, **settings})


def test_state_of_another_store() -> None:
    with pytest.raises(BadInput, match="20 rows"):
        Loader(Rows(10), 1).load_state_dict(Loader(Rows(20), 1).state_dict())


def test_rank_from_the_environment() -> None:
    assert environment_rank({}) == (0, 1)
    assert environment_rank({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == (3, 8)
    assert environment_rank({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == (1, 2)


def test_a_share_is_dealt_out_evenly() -> None:
    places = [Share(10, rank, 3, False).place(30, 5) for rank in range(3)]
    assert places == [(30, 31), (31, 33), (33, 35)]
