"""`open_store` on a folder of CT shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: TID253  (the test is about torch's loaders)

from imgassets import open_store
from imgassets.errors import MissingUpstream, StoreError
from imgassets.formats.ct_split import collate
from imgassets.stores.ct import CtStore
from tests.formats.ct_making import REPORTS, SHAPE, sample, write_split


@pytest.fixture(params=["guide", "npy", "ctclip"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> CtStore:
    opened = open_store(write_split(tmp_path, request.param))
    assert isinstance(opened, CtStore)
    return opened


def test_items_are_volume_report_and_labels(store: CtStore) -> None:
    assert len(store) == 5
    for number, (volume, report, labels) in enumerate(store):
        np.testing.assert_array_equal(volume, sample(number).array)
        assert report == REPORTS[number]
        assert tuple(labels) == sample(number).labels


@pytest.mark.parametrize("shuffle", [False, True, "block"])
def test_the_loader_gives_every_sample_once(store: CtStore, shuffle: bool | str) -> None:
    seen = []
    for volumes, reports, labels in store.loader(2, shuffle=shuffle):
        assert volumes.dtype == torch.float16
        assert volumes.shape[1:] == SHAPE
        for volume, report, target in zip(volumes, reports, labels, strict=True):
            number = REPORTS.index(report)
            np.testing.assert_array_equal(volume.numpy(), sample(number).array)
            assert tuple(target.tolist()) == sample(number).labels
            seen.append(number)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert (seen == [0, 1, 2, 3, 4]) is (shuffle is False)


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_own_loader_does_as_well(store: CtStore, workers: int) -> None:
    loader = torch.utils.data.DataLoader(store, 2, shuffle=True, num_workers=workers, collate_fn=collate)
    assert sorted(report for _, reports, _ in loader for report in reports) == sorted(REPORTS)


def test_transforms(tmp_path: Path) -> None:
    store = open_store(write_split(tmp_path), lambda volume: float(volume[0, 0, 0]), lambda labels: labels[:2])
    volume, report, labels = store[2]
    assert (volume, report, len(labels)) == (float(sample(2).array[0, 0, 0]), REPORTS[2], 2)
    assert isinstance(store, CtStore)
    volumes, _, targets = store.batch([2, -1])
    assert volumes == [float(sample(n).array[0, 0, 0]) for n in (2, 4)]
    assert [len(target) for target in targets] == [2, 2]


def test_a_list_is_a_batch_and_a_slice_a_list(store: CtStore) -> None:
    volumes, reports, labels = store[[3, 0, -1]]
    for volume, report, target, number in zip(volumes, reports, labels, (3, 0, 4), strict=True):
        np.testing.assert_array_equal(volume.numpy(), sample(number).array)
        assert (report, tuple(target.tolist())) == (REPORTS[number], sample(number).labels)
    assert [report for _, report, _ in store[1:3]] == list(REPORTS[1:3])
    sampler = torch.utils.data.BatchSampler(range(5), 2, drop_last=False)
    loader = torch.utils.data.DataLoader(store, sampler=sampler, batch_size=None, num_workers=2)
    assert [report for _, reports, _ in loader for report in reports] == list(REPORTS)


def test_labels_and_classes(store: CtStore) -> None:
    assert store.labels.dtype == np.float32
    assert [tuple(row) for row in store.labels.tolist()] == [sample(number).labels for number in range(5)]
    assert [store.class_to_idx[name] for name in store.class_names] == list(range(18))
    with pytest.raises(ValueError, match="read-only"):
        store.labels[0] = 1


def test_a_folder_without_a_manifest_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(MissingUpstream):
        open_store(tmp_path)


def test_it_has_the_face_of_all_stores(store: CtStore) -> None:
    assert [(field.name, field.shape) for field in store.fields] == [
        *(("image", SHAPE), ("report", ()), ("label", (18,)), ("name", ()))
    ]
    assert store.name(-1) == "train_4_a_1"
    assert store.classes[:2] == ["c0", "c1"]
    np.testing.assert_array_equal(store.column("image", [3, 0]), [sample(3).array, sample(0).array])
    np.testing.assert_array_equal(store.column("label", [4])[0], sample(4).labels)
    assert store.column("report", [1, 0]) == [REPORTS[1].encode(), REPORTS[0].encode()]
    assert store.column("name", [2]) == [b"train_2_a_1"]
    place = store.place(3)
    assert place.read
    assert (place.file, place.read()) == ("shard-000001.tar", sample(3).array.tobytes())
    store.verify()
    with (store.folder / "shard-000001.tar").open("r+b") as file:
        assert place.offset
        file.seek(place.offset)
        file.write(b"\xff" * 8)
    with pytest.raises(StoreError, match=r"train_3_a_1 in .*shard-000001\.tar is damaged"):
        store.verify()
