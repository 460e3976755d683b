"""Epochs: every row once, exact shares for any world, a state that goes on anywhere."""

from __future__ import annotations

from itertools import islice, zip_longest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.stores import open_store
from imgassets.stores.epochs import Share, epoch_order
from imgassets.stores.loader import Loader
from imgassets.testing.making import arrays, make


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


def world_of(rows: int, batch: int, world: int, **settings: Any) -> list[Loader]:
    return [Loader(Rows(rows), batch, rank=rank, world_size=world, **settings) for rank in range(world)]


def in_step(loaders: list[Loader], steps: int | None = None) -> list[list[int]]:
    """Rows of each step of all ranks, which must end together; at most `steps` of them."""
    found = []
    for batches in islice(zip_longest(*loaders), steps):
        assert None not in batches, "a rank would wait for ever"
        found.append(flat(batches))
    return found


@pytest.mark.parametrize("world", range(1, 9))
@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_every_remainder_is_dealt_out(batch: int, world: int) -> None:
    for rows in range(world, 3 * batch * world + 1):
        sizes = []
        for rank in range(world):
            share = Share(batch, rank, world, drop_last=False)
            places = list(share.places(0, rows))
            assert len(places) == share.steps(rows)
            sizes.append([last - first for first, last in places])
        rest = rows % (batch * world)
        assert len(sizes[0]) == -(-rows // (batch * world)) - (0 < rest < world and rows > rest)
        *full, last = zip(*sizes, strict=True)
        assert all(set(step) == {batch} for step in full)
        assert max(last) - min(last) <= 1
        assert min(last) >= 1
        assert max(last) <= batch + (0 < rest < world)


@given(
    rows=st.integers(8, 300),
    batch=st.integers(1, 40),
    world=st.integers(1, 8),
    shuffle=st.sampled_from([False, True, "block"]),
)
@settings(deadline=None, max_examples=40)
def test_every_row_once_over_all_ranks(rows: int, batch: int, world: int, shuffle: Any) -> None:
    loaders = world_of(rows, batch, world, shuffle=shuffle, seed=3)
    for epoch in range(2):
        steps = in_step(loaders)
        assert sorted(flat(steps)) == list(range(rows))
        assert flat(steps[:-1]) == epoch_order(rows, shuffle, 3, epoch)[: batch * world * (len(steps) - 1)].tolist()
        assert {len(loader) for loader in loaders} == {len(steps)}


@given(rows=st.integers(8, 200), batch=st.integers(1, 30), world=st.integers(1, 8))
@settings(deadline=None, max_examples=25)
def test_drop_last_gives_all_ranks_the_same_full_batches(rows: int, batch: int, world: int) -> None:
    loaders = world_of(rows, batch, world, drop_last=True)
    found = [list(loader) for loader in loaders]
    assert [len(batches) for batches in found] == [len(loader) for loader in loaders]
    assert {len(batches) for batches in found} == {rows // (batch * world)}
    assert all(len(b) == batch for batches in found for b in batches)


@given(
    rows=st.integers(8, 300),
    legs=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 8), st.integers(0, 9)), max_size=5),
    last=st.tuples(st.integers(1, 20), st.integers(1, 8)),
    shuffle=st.sampled_from([False, True, "block"]),
)
@settings(deadline=None, max_examples=80)
def test_kills_and_resumes_in_other_worlds_lose_nothing(
    rows: int, legs: list[tuple[int, int, int]], last: tuple[int, int], shuffle: Any
) -> None:
    order = epoch_order(rows, shuffle, 1, 0).tolist()
    seen: list[int] = []
    state = Loader(Rows(rows), 1, seed=1).state_dict()
    for batch, world, steps in [*legs, (*last, None)]:
        loaders = world_of(rows, batch, world, shuffle=shuffle, seed=99)
        whole = {len(loader) for loader in loaders}
        for loader in loaders:
            loader.load_state_dict(state)
        if loaders[0].state_dict()["epoch"] == 1:  # fewer rows than ranks are left out, the same on all of them
            assert len(order) - len(seen) < world
            assert all(loader.state_dict()["epoch"] == 1 for loader in loaders)
            break
        seen += flat(in_step(loaders, steps))
        assert {len(loader) for loader in loaders} == whole
        states = [loader.state_dict() for loader in loaders]
        assert all(other == states[0] for other in states)
        state = states[0]
        if state["epoch"] == 1:
            assert len(seen) == rows
            break
        assert state["used"] == len(seen)
    assert sorted(seen) == sorted(order[: len(seen)])
    assert state["epoch"] == 1 or len(order) - len(seen) < world


@pytest.mark.parametrize("drop_last", [False, True])
def test_rows_too_few_for_the_ranks_are_left_out_of_a_resumed_epoch(
    drop_last: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loaders = world_of(27, 2, 8, drop_last=drop_last)
    for loader in loaders:
        loader.load_state_dict({"seed": 0, "epoch": 4, "used": 24, "rows": 27})
    assert loaders[0].state_dict()["epoch"] == 5
    assert sorted(flat(in_step(loaders))) == list(range(16 if drop_last else 27))
    said = ["the last 3 rows of epoch 4 are left out: too few for 8 ranks"] * 8
    assert [record.getMessage() for record in caplog.records] == ([] if drop_last else said)


def test_epochs_differ_and_repeat() -> None:
    loader = Loader(Rows(100), 7, shuffle=True, seed=5)
    first, second = flat(loader), flat(loader)
    assert first != second
    loader.set_epoch(0)
    assert flat(loader) == first
    assert flat(Loader(Rows(100), 13, shuffle=True, seed=5)) == first
    assert flat(Loader(Rows(100), 13, shuffle=True, seed=6)) != first


def epochs(rows: int = 20, batch: int = 6) -> tuple[Loader, list[list[list[int]]]]:
    """A loader, and the batches of its first epochs."""
    plain = Loader(Rows(rows), batch, shuffle=True, seed=1)
    return Loader(Rows(rows), batch, shuffle=True, seed=1), [list(plain) for _ in range(5)]


@pytest.mark.parametrize("taken", [2, 3, 4])
def test_the_next_iteration_is_the_next_epoch_however_one_was_left(taken: int) -> None:
    loader, wanted = epochs()
    for epoch in wanted:
        assert list(islice(loader, taken)) == epoch[:taken]  # never asks for the end
        assert len(loader) == 4
    assert loader.state_dict()["epoch"] == 4 + (taken == 4)


def test_a_look_does_not_count() -> None:
    loader, wanted = epochs()
    iter(loader)
    assert next(iter(loader)) == wanted[0][0]
    assert next(iter(loader)) == wanted[0][0]
    assert list(loader) == wanted[0]
    assert list(loader) == wanted[1]
    state = next(iter(loader)) and loader.state_dict()  # though what was handed out is known
    assert state == {"seed": 1, "epoch": 2, "used": 6, "rows": 20}
    loader.load_state_dict(state)
    assert next(iter(loader)) == wanted[2][1]
    assert list(loader) == wanted[2][1:]
    assert list(loader) == wanted[3]


def test_an_epoch_of_one_batch_is_no_look() -> None:
    loader, wanted = epochs(batch=32)
    assert [next(iter(loader)) for _ in wanted] == [batch for (batch,) in wanted]


def test_a_state_at_any_place() -> None:
    for taken in range(5):
        loader, wanted = epochs()
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
        other = Loader(Rows(20), 6, shuffle=True)
        other.load_state_dict(loader.state_dict())
        if taken < 4:
            assert list(other) == wanted[0][taken:]
        assert list(other) == wanted[1]
        assert list(other) == wanted[2]


@pytest.mark.parametrize(("used", "epoch", "batch"), [(0, 3, 0), (6, 3, 1), (12, 3, 2), (20, 4, 0)])
def test_states_name_epoch_and_rows(used: int, epoch: int, batch: int) -> None:
    loader, wanted = epochs()
    loader.load_state_dict({"seed": 1, "epoch": 3, "used": used, "rows": 20})
    assert list(loader) == wanted[epoch][batch:]


def test_iterations_at_once_are_independent() -> None:
    loader, wanted = epochs()
    first = iter(loader)
    head = [next(first), next(first)]
    second = iter(loader)
    assert loader.state_dict() == {"seed": 1, "epoch": 1, "used": 0, "rows": 20}  # the youngest
    assert next(second) == wanted[1][0]
    assert [*head, *first] == wanted[0]
    assert loader.state_dict()["used"] == 6
    assert list(second) == wanted[1][1:]
    assert all(a == b for a, b in zip(loader, loader, strict=True))


def test_set_epoch_begins_from_the_start() -> None:
    loader, wanted = epochs()
    for taken in (0, 1, 2, 4):
        loader.set_epoch(2)
        assert loader.state_dict() == {"seed": 1, "epoch": 2, "used": 0, "rows": 20}
        assert list(islice(loader, taken)) == wanted[2][:taken]
    loader.set_epoch(1)
    assert list(loader) == wanted[1]
    assert list(loader) == wanted[2]
    batches = iter(loader)
    loader.sampler.set_epoch(1)  # before its first batch: as Lightning does
    assert list(batches) == wanted[1]


def test_set_epoch_of_the_state_s_epoch_keeps_the_state() -> None:
    state = {"seed": 1, "epoch": 2, "used": 12, "rows": 20}
    loader, wanted = epochs()
    loader.load_state_dict(state)
    loader.set_epoch(2)
    assert list(loader) == wanted[2][2:]
    loader.load_state_dict(state)
    batches = iter(loader)
    loader.set_epoch(2)
    assert next(batches) == wanted[2][2]
    loader.set_epoch(2)
    assert list(loader) == wanted[2]
    loader.load_state_dict(state)
    loader.set_epoch(3)
    assert list(loader) == wanted[3]


@pytest.mark.parametrize("world", [1, 3])
def test_the_sampler_tells_the_rows_of_the_batches(world: int) -> None:
    for loader in world_of(31, 4, world, shuffle=True):
        sampler = loader.batch_sampler
        assert len(sampler) == len(loader)
        for _ in range(3):
            rows = list(sampler)
            assert list(sampler) == rows == list(loader)


def test_a_loader_made_before_the_process_group_is_in_it(tmp_path: Path) -> None:
    loader = Loader(Rows(20), 6)
    ranks = {"rank": 1, "world_size": 2}
    with patch("imgassets.ranks.environment_rank", lambda: tuple(ranks.values())):
        assert len(loader) == 2
        assert list(loader) == list(Loader(Rows(20), 6, **ranks))


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


@pytest.mark.parametrize("drop_last", [False, True])
def test_fewer_rows_than_ranks(drop_last: bool) -> None:
    with pytest.raises(BadInput, match="3 rows, fewer than the 4 ranks"):
        Loader(Rows(3), 1, rank=0, world_size=4, drop_last=drop_last)
    assert list(Loader(Rows(0), 1, drop_last=drop_last)) == []


def test_the_last_batch_may_be_larger_by_one(tmp_path: Path) -> None:
    store = open_store(make(tmp_path, arrays(33, (3, 4, 4)), "memmap"))
    loaders = [store.loader(8, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(3):
        found = [list(loader) for loader in loaders]
        assert [[len(labels) for _, labels in batches] for batches in found] == [[8, 8], [8, 9]]
        rows = [batch for step in zip(*found, strict=True) for batch in step]
        assert torch.equal(torch.cat([images for images, _ in rows]), store.batch(range(33))[0])
