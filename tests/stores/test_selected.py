"""Rows of a store that are a store again: of every kind, in every use of a store."""

from __future__ import annotations

import pickle  # noqa: TID251  (what torch does to a dataset when it spawns workers)
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset  # noqa: TID253

from imgassets import collate, open_store
from imgassets.augment import RandomResizedCrop
from imgassets.errors import BadInput, StoreError
from imgassets.formats import tfrecord
from imgassets.formats.arrays import LabelledImages, write_arrays
from imgassets.formats.ct_split import collate as ct_collate
from imgassets.sources.folder import class_folder
from imgassets.stores import OpenStore
from imgassets.stores.selected import SelectedStore
from imgassets.testing.making import arrays, folder, make
from tests.formats.ct_making import write_split
from tests.stores.test_artifacts import commit, images
from tests.stores.test_records import image

ROWS = 47


def made_arrays(root: Path) -> OpenStore:
    return open_store(make(root, arrays(ROWS), "memmap"))


def made_files(root: Path) -> OpenStore:
    return open_store(make(root, class_folder(folder(root / "raw")), "tar"))


def made_records(root: Path) -> OpenStore:
    with (root / "train-00000-of-00001").open("wb") as sink:
        tfrecord.write(sink, (image(i).parts() for i in range(7)))
    return open_store(root)


def made_artifact(root: Path) -> OpenStore:
    pixels = images()
    labelled = LabelledImages([pixels.reshape(len(pixels), -1)], np.arange(len(pixels)) % 4, (3, 6, 5))
    return open_store(commit(root, lambda stage: write_arrays(labelled, stage)))


def made_ct(root: Path) -> OpenStore:
    return open_store(write_split(root, "guide"))


KINDS: dict[str, Callable[[Path], OpenStore]] = {
    "arrays": made_arrays,
    "files": made_files,
    "records": made_records,
    "artifact": made_artifact,
    "ct": made_ct,
}
ROWS_OF_ALL = [4, 0, -1, 2, 2]


@pytest.fixture(params=KINDS)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> OpenStore:
    return KINDS[request.param](tmp_path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    return made_arrays(tmp_path_factory.mktemp("plain"))


def same(found: Any, wanted: Any) -> None:
    """Items or batches of any kind are equal."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        if isinstance(one, torch.Tensor | np.ndarray):
            assert one.dtype == other.dtype
            assert np.array_equal(np.asarray(one), np.asarray(other))
        elif isinstance(one, list | tuple) and len(one):
            same(one, other)
        else:
            assert one == other


def test_the_whole_face_is_that_of_the_rows(store: OpenStore) -> None:
    part, rows = store.select(ROWS_OF_ALL), [row % len(store) for row in ROWS_OF_ALL]
    assert isinstance(part, OpenStore)
    assert part.rows.tolist() == rows
    assert (len(part), part.fields, part.class_to_idx) == (5, store.fields, store.class_to_idx)
    assert part.classes == store.classes
    assert np.array_equal(part.labels, store.labels[rows])
    for k, row in enumerate(rows):
        same(part[k], store[row])
        same(part[k - 5], store[row])
        assert part.name(k) == store.name(row)
        assert (part.place(k).file, part.place(k).offset) == (store.place(row).file, store.place(row).offset)
    same(part[[3, -5]], store[[rows[3], rows[0]]])
    same(part[1:4], store[rows[1:4]])
    same(part.batch([1, 0]), store.batch([rows[1], rows[0]]))
    same([part.column("label", [0, -2])], [store.column("label", [rows[0], rows[3]])])
    part.verify()


def test_rows_out_of_range_are_refused(store: OpenStore) -> None:
    part = store.select([1, 0])
    for wrong in (2, -3):
        with pytest.raises(IndexError):
            part[wrong]
        with pytest.raises(IndexError):
            part.name(wrong)
        with pytest.raises(IndexError):
            store.select([len(store) if wrong > 0 else -len(store) - 1])
    with pytest.raises(TypeError, match="by whole numbers"):
        store.select([True, False])
    part[1]


def test_a_class_s_rows_alone(store: OpenStore) -> None:
    labels, name = store.labels, store.classes[-1] if store.classes else ""
    if not name:
        with pytest.raises(BadInput, match=r"no names of classes: select by where="):
            store.select(classes=["x"])
        return
    number = store.class_to_idx[name]
    wanted = np.flatnonzero(labels[:, number] > 0 if labels.ndim == 2 else labels == number)
    assert store.select(classes=[name]).rows.tolist() == store.select(classes=name).rows.tolist() == wanted.tolist()
    with pytest.raises(BadInput, match="there is no 'no such', only "):
        store.select(classes=[name, "no such"])


def test_it_is_pickled_as_the_store_is(store: OpenStore) -> None:
    part = store.select([3, 1, 2])
    again = pickle.loads(pickle.dumps(part))  # noqa: S301
    assert isinstance(again, SelectedStore)
    assert again.rows.tolist() == [3, 1, 2]
    assert np.array_equal(again.labels, part.labels)
    same(again[0], store[3])


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_read_it(store: OpenStore, workers: int) -> None:
    rows = [3, 1, 4]
    part = store.select(rows)
    together: Any = ct_collate if "report" in [field.name for field in store.fields] else collate
    datasets: list[Any] = [part, Subset(store, rows)]  # type: ignore[arg-type]
    same(*(list(DataLoader(dataset, 2, collate_fn=together, num_workers=workers)) for dataset in datasets))
    for loader in (part.loader(2), store.loader(2, indices=rows)):
        first, last = loader
        same(first, store.batch(rows[:2]))
        same(last, store.batch(rows[2:]))


@pytest.mark.parametrize("shuffle", [False, True, "block"])
def test_a_loader_of_some_rows(plain: OpenStore, shuffle: Any) -> None:
    odd = np.flatnonzero(plain.labels % 2)
    loader = plain.loader(4, shuffle=shuffle, seed=3, where=lambda store: store.labels % 2 == 1)
    assert len(loader) == -(-len(odd) // 4)
    for _ in range(2):
        seen = torch.cat([images for images, _ in loader])
        wanted = plain.batch(odd)[0]
        assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, wanted.numpy()))
    assert loader.state_dict()["rows"] == len(odd)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-ROWS, ROWS - 1), max_size=60),
    st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=4)),
    st.one_of(st.none(), st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)),
    st.data(),
)
def test_what_is_given_holds_together(
    plain: OpenStore, indices: list[int], numbers: list[int] | None, mask: list[bool] | None, data: st.DataObject
) -> None:
    names = None if numbers is None else [f"class{number}" for number in numbers]
    part = plain.select(indices, classes=names, where=mask)
    wanted = [row % ROWS for row in indices]
    wanted = [row for row in wanted if mask is None or mask[row]]
    wanted = [row for row in wanted if numbers is None or plain.labels[row] in numbers]
    assert part.rows.tolist() == wanted
    again = data.draw(st.lists(st.integers(-len(wanted), len(wanted) - 1), max_size=9)) if wanted else []
    nested = part.select(again)
    assert nested.rows.tolist() == [wanted[k] for k in again]
    assert nested.dataset is plain
    assert nested.labels.tolist() == part.labels[np.array(again, np.int64)].tolist()


def test_rows_are_not_the_caller_s_memory(plain: OpenStore) -> None:
    rows = np.array([5, 6])
    part = plain.select(rows)
    rows[0] = 0
    assert part.rows.tolist() == [5, 6]
    with pytest.raises(ValueError, match="read-only"):
        part.rows[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        part.labels[0] = 1


def test_a_row_s_crop_is_that_of_the_whole_store(tmp_path: Path) -> None:
    store, crop = made_files(tmp_path), RandomResizedCrop(24)
    rows = [7, 2, 9, 3]
    for epoch in range(2):
        whole, part = store.loader(len(store), seed=5, augment=crop), store.select(rows).loader(3, seed=5, augment=crop)
        for loader in (whole, part):
            loader.set_epoch(epoch)
        ((pixels, labels),) = whole
        found = list(part)
        same([torch.cat(column) for column in zip(*found, strict=True)], [pixels[rows], labels[rows]])
    part.set_epoch(1)
    again: DataLoader[Any] = DataLoader(part.dataset, 3, collate_fn=collate)  # type: ignore[arg-type]  # as skip_first_batches does
    same(list(again), found)


def test_crops_of_other_stores_are_refused(tmp_path: Path, plain: OpenStore) -> None:
    for store, why in ((plain, "pixels of one size"), (made_ct(tmp_path), "not for a CtStore")):
        with pytest.raises(BadInput, match=why):
            store.loader(2, indices=[1], augment=RandomResizedCrop(24))


def test_a_transform_is_the_store_s(tmp_path: Path) -> None:
    store = open_store(make(tmp_path, arrays(ROWS), "memmap"), lambda picture: picture.size, lambda label: -label)
    part = store.select([4, 8])
    assert part[1] == store[8]
    assert next(iter(part.loader(2)))[0] == store.batch([4, 8])[0]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "give indices, classes or where"),
        ({"where": [True]}, r"where is bool of shape \(1,\): expected True or False for each of the 47 rows"),
        ({"where": lambda store: store.labels}, r"where is int64 of shape \(47,\)"),
        ({"where": np.zeros((ROWS, 1), bool)}, "where is bool of shape"),
    ],
)
def test_what_selects_nothing_is_told(plain: OpenStore, given: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        plain.select(**given)


def test_no_row_is_a_store_without_a_loader(plain: OpenStore) -> None:
    part = plain.select(where=lambda store: store.labels > 99)
    assert (len(part), part.labels.tolist(), part.classes) == (0, [], plain.classes)
    with pytest.raises(BadInput, match=r"No row of .* was selected"):
        part.loader(4)
    with pytest.raises(BadInput, match=r"No row of .* was selected"):
        plain.loader(4, indices=[])


def test_closing_it_leaves_the_store_open(plain: OpenStore) -> None:
    with plain.select([1]) as part:
        part[0]
    with pytest.raises(StoreError, match="The selection of 1 rows was closed"):
        part[0]
    plain[1]
