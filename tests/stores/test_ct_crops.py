"""Crops of CT volumes in a loader: of the right places, of the right volumes, the same however they are read."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader  # noqa: TID253

from imgassets import collate, open_store
from imgassets.augment.draws import draws
from imgassets.errors import BadInput
from imgassets.formats.ct_split import dump, shard_name, split_manifest
from imgassets.mapping.faults import POSSIBLE
from imgassets.stores.ct import CtStore
from imgassets.stores.ct_crops import VolumeCrops, mixed
from tests.formats.ct_making import REPORTS, SHAPE, sample, shard_bytes, write_split

SIZE, EACH = (3, 2, 2), 3
Seen = Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CtStore:
    return opened(write_split(tmp_path_factory.mktemp("split")))


def opened(folder: Path, *transforms: Any) -> CtStore:
    found = open_store(folder, *transforms)
    assert isinstance(found, CtStore)
    return found


def checksum(volume: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(volume).tobytes()).hexdigest()


def wanted(seed: int, epoch: int, size: tuple[int, int, int] = SIZE, each: int = EACH) -> Seen:
    """(report, checksum) of every crop of an epoch, cut out of the arrays that were written."""
    numbers = draws(seed, epoch, np.arange(5), each).reshape(5, each, 4)
    found: Seen = Counter()
    for row in range(5):
        for drawn in numbers[row]:
            x, y, z = (int(u * (n - side + 1)) for u, n, side in zip(drawn, SHAPE, size, strict=False))
            box = sample(row).array[x : x + size[0], y : y + size[1], z : z + size[2]]
            found[REPORTS[row], checksum(box)] += 1
    return found


def seen(batches: Iterable[Any]) -> Seen:
    found: Seen = Counter()
    for volumes, reports, labels in batches:
        for volume, report, label in zip(volumes, reports, labels, strict=True):
            assert tuple(label.tolist()) == sample(REPORTS.index(report)).labels
            found[report, checksum(volume.numpy())] += 1
    return found


def test_crops_of_each_volume_are_one_batch(store: CtStore) -> None:
    volumes, reports, labels = next(iter(store.loader(2, crop=SIZE, crops=EACH)))
    assert (volumes.shape, volumes.dtype) == ((2 * EACH, *SIZE), torch.float16)
    assert reports == [REPORTS[0]] * EACH + [REPORTS[1]] * EACH
    assert (labels.shape, labels.dtype) == ((2 * EACH, 18), torch.float32)
    for epoch, loader in enumerate([store.loader(2, crop=SIZE, crops=EACH, shuffle=True, seed=3)] * 2):
        assert seen(loader) == wanted(3, epoch)
    assert wanted(3, 0) != wanted(3, 1)
    assert wanted(4, 0) != wanted(3, 0)


@given(
    legs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)), max_size=3),
    last=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    shuffle=st.sampled_from([False, True, "block"]),
    epoch=st.integers(0, 3),
    threads=st.integers(1, 3),
)
@settings(deadline=None, max_examples=40)
def test_kills_and_resumes_in_other_worlds_give_the_same_crops(
    store: CtStore, legs: Any, last: Any, shuffle: Any, epoch: int, threads: int
) -> None:
    state, found = {"seed": 5, "epoch": epoch, "used": 0, "rows": 5}, Counter[tuple[str, str]]()
    for batch, world, steps in [*legs, (*last, None)]:
        if 5 - state["used"] < world:
            continue
        told = {"shuffle": shuffle, "world_size": world, "crop": SIZE, "crops": EACH, "threads": threads}
        ranks = [store.loader(batch, rank=rank, **told) for rank in range(world)]
        for loader in ranks:
            loader.load_state_dict(state)
            found += seen(islice(loader, steps))
        state = ranks[0].state_dict()
        if state["epoch"] > epoch:
            break
    complete = wanted(5, epoch)
    assert found == complete if state["epoch"] > epoch else found <= complete


@given(size=st.tuples(*(st.integers(1, n) for n in SHAPE)), each=st.integers(1, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_any_size(store: CtStore, size: tuple[int, int, int], each: int, seed: int) -> None:
    assert seen(store.loader(3, crop=size, crops=each, seed=seed)) == wanted(seed, 0, size, each)


def test_every_place_is_as_probable(store: CtStore) -> None:
    crops = VolumeCrops(SIZE, 2000)
    places = Counter(map(tuple, crops.starts(SHAPE, 0, 0, 1, 0).tolist()))
    assert len(places) == 4 * 4 * 3
    assert max(places.values()) < 3 * min(places.values())


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 9))
def test_a_share_of_the_volumes_is_positive(positive: list[bool], share: float, seed: int) -> None:
    kinds = np.array(positive)
    try:
        rows, turns = mixed(kinds, share, np.random.default_rng(seed), "x")
    except BadInput:
        assert kinds.all() or not kinds.any()
        return
    counts = np.cumsum(kinds[rows])
    assert len(rows) == len(kinds)
    np.testing.assert_array_equal(counts, np.floor(np.arange(1, len(kinds) + 1) * share + 1e-9))
    for kind in (False, True):
        times = Counter(rows[kinds[rows] == kind].tolist())
        often = [times[row] for row in np.flatnonzero(kinds == kind).tolist()]
        assert not often or max(often) - min(often) <= 1
    assert len(set(zip(rows.tolist(), turns.tolist(), strict=True))) == len(rows)


def test_positive_and_negative_volumes(store: CtStore) -> None:
    column = next(k for k in range(18) if 0 < store.labels[:, k].sum() < 5)
    settings_: dict[str, Any] = {"crop": SIZE, "crops": EACH, "positive": f"c{column}", "share": 0.4, "shuffle": True}
    alone = [batch for _ in range(3) for batch in store.loader(5, seed=1, **settings_)]
    for _, _, labels in alone:
        assert int(labels[::EACH, column].sum()) == 2
    loaders = [store.loader(2, seed=1, rank=rank, world_size=2, **settings_) for rank in range(2)]
    assert sum((seen(loader) for loader in loaders), Counter()) == seen(alone[:1])
    crops = [crop for _, crop in seen(alone[:1]).elements()]
    assert len(crops) == 5 * EACH


def test_a_volume_that_comes_again_has_other_crops() -> None:
    crops = VolumeCrops((96, 96, 96), 4)
    starts = [crops.starts((480, 480, 240), 0, 0, 7, turn).tolist() for turn in range(3)]
    assert len({tuple(start) for turn in starts for start in turn}) == 12
    assert VolumeCrops((96, 96, 96), 2).starts((480, 480, 240), 0, 0, 7, 0).tolist() == starts[0][:2]


def test_whoever_goes_on_without_the_loader_has_the_same(store: CtStore) -> None:
    loader = store.loader(2, crop=SIZE, crops=EACH, seed=2)
    dataset: Any = loader.dataset
    again = DataLoader(dataset, batch_sampler=list(loader.batch_sampler), collate_fn=loader.collate_fn)
    for (volumes, reports, labels), (others, texts, targets) in zip(loader, again, strict=True):
        assert torch.equal(volumes, others)
        assert torch.equal(labels, targets)
        assert reports == list(texts)
    np.testing.assert_array_equal(
        dataset[-1].volume, next(islice(store.loader(1, crop=SIZE, crops=EACH, seed=2), 4, 5))[0]
    )
    assert collate is loader.collate_fn


def test_transforms_get_crops(tmp_path: Path) -> None:
    store = opened(write_split(tmp_path), lambda crop: crop.shape, lambda labels: len(labels))
    for volumes, _, labels in store.loader(2, crop=SIZE, crops=2):
        assert set(volumes) == {SIZE}
        assert set(labels) == {18}


def test_crops_in_another_dtype(store: CtStore) -> None:
    loader = store.loader(4, crop=SIZE, crops=EACH, dtype=torch.float32)
    plain = store.loader(4, crop=SIZE, crops=EACH)
    for _ in range(2):
        for (volumes, *_), (others, *_) in zip(loader, plain, strict=True):
            assert volumes.dtype == torch.float32
            assert torch.equal(volumes, others.float())


@pytest.mark.parametrize(
    ("settings_", "told"),
    [
        ({"crop": (7, 2, 2)}, r"crop \(7, 2, 2\) is larger than the volumes of .*: \(6, 5, 4\)"),
        ({"crop": (2, 2)}, "expected three whole numbers"),
        ({"crop": (2, 2, 1.5)}, "expected three whole numbers"),
        ({"crop": 2}, "expected three whole numbers"),
        ({"crop": (2, 0, 2)}, "expected three whole numbers"),
        ({"crop": SIZE, "crops": 0}, "crops 0: expected"),
        ({"crop": SIZE, "share": 1.5}, "share 1.5: expected"),
        ({"crop": SIZE, "positive": "nodule"}, "no class 'nodule', only c0, c1"),
        ({"crops": 2}, r"give their size, crop=\(96, 96, 96\)"),
    ],
)
def test_settings_that_cannot_be(store: CtStore, settings_: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        store.loader(2, **settings_)


def test_no_volume_of_a_kind(tmp_path: Path) -> None:
    store = opened(write_split(tmp_path))
    store.__dict__["labels"] = np.ones((5, 18), np.float32)
    with pytest.raises(BadInput, match="No volume is without c0"):
        store.loader(2, crop=SIZE, positive="c0")


def test_boxes_lie_in_the_volume(store: CtStore) -> None:
    np.testing.assert_array_equal(store.boxes(-1, [[1, 2, 0]], SIZE)[0], sample(4).array[1:4, 2:4, 0:2])
    for start in ([4, 0, 0], [0, 0, -1]):
        with pytest.raises(IndexError, match="of a volume of"):
            store.boxes(0, [start], SIZE)


LARGE = (64, 128, 256)


def large(folder: Path) -> Path:
    """One volume of 4 MB."""
    data, shard = shard_bytes([sample(0, LARGE)])
    path = folder / shard_name(0)
    path.write_bytes(data)
    about: dict[str, Any] = {"skipped": [], "noted": [], "class_names": [f"c{i}" for i in range(18)], "shape": LARGE}
    document = split_manifest("train", [shard], **about, samples_per_shard=1, preprocessing={}, revision="")
    (folder / "manifest.json").write_bytes(dump(document))
    return path


def resident(store: CtStore) -> int:
    """Bytes of the shard that are in memory."""
    held = np.zeros(store._space().bytes.size // mmap.PAGESIZE + 1, np.uint8)
    base, length = ctypes.c_void_p(store._space().base), ctypes.c_size_t(store._space().bytes.size)
    assert ctypes.CDLL(None).mincore(base, length, ctypes.c_void_p(held.ctypes.data)) == 0
    return int((held & 1).sum()) * mmap.PAGESIZE


@pytest.mark.skipif(not POSSIBLE, reason="pages can be counted on Linux")
@pytest.mark.parametrize("writable", [True, False])
def test_a_crop_reads_its_own_pages_and_labels_read_no_volume(
    tmp_path: Path, writable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: writable)

    def forget() -> None:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    forget()
    store = opened(tmp_path)
    before = resident(store)
    if before > path.stat().st_size // 4:
        pytest.skip("this file system does not let go of pages")
    assert store.labels.shape == (1, 18)
    assert resident(store) - before <= 4 * mmap.PAGESIZE
    before, size = resident(store), (8, 16, 16)
    volumes, _, _ = next(iter(store.loader(1, crop=size)))
    x, y, z = VolumeCrops(size).starts(LARGE, 0, 0, 0, 0)[0].tolist()
    np.testing.assert_array_equal(volumes[0], sample(0, LARGE).array[x : x + 8, y : y + 16, z : z + 16])
    slab = 16 * LARGE[2] * 2  # of each of its planes the rows from the first to the last
    assert resident(store) - before <= 8 * (slab + 2 * mmap.PAGESIZE) + 4 * mmap.PAGESIZE
