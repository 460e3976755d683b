"""A torch dataset as a source: whoever asks, its items come one by one, whole, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from typing import Any

import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.sources.dataset import from_dataset, refuse_chance
from imgassets.stores import open_store
from imgassets.stores.convert import convert
from imgassets.testing.making import encoded, folder, picture


class Made:
    """A dataset of items made by a function of their number."""

    def __init__(self, make: Callable[[int], Any], length: int = 40) -> None:
        self._make, self._length = make, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self._make(index)


def test_one_thread_at_a_time_asks_a_dataset() -> None:
    busy, met = Lock(), []

    def make(index: int) -> tuple[Any, int]:
        alone = busy.acquire(blocking=False)
        met.append(alone)
        found = picture(index, 60, 60)
        if alone:
            busy.release()
        return found, index

    source = from_dataset(Made(make))
    threads = [Thread(target=source.read, args=[range(40)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 161
    assert all(met)


def test_items_that_share_the_position_of_a_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (300, 8, 8, 3), np.uint8)
    images.tofile(tmp_path / "images")
    with open(tmp_path / "images", "rb") as file:

        def make(index: int) -> tuple[Any, int]:
            file.seek(index * images[0].nbytes)
            sleep(0.001)  # another thread's turn
            return np.frombuffer(file.read(images[0].nbytes), np.uint8).reshape(8, 8, 3), index

        path = convert(Made(make, len(images)), tmp_path / "out", threads=4)
    assert path is not None
    store = open_store(path)
    assert np.array_equal(store.column("image", range(len(images))), images)


@pytest.mark.parametrize("error", [OSError("no such host"), KeyError("image"), RuntimeError("broken")])
def test_a_first_item_that_fails_is_told_in_a_sentence(error: Exception) -> None:
    def make(index: int) -> Any:
        raise error

    with pytest.raises(BadInput, match=rf"items \(image, label\): {type(error).__name__}: .*"):
        from_dataset(Made(make))


@pytest.mark.parametrize("shape", [(3, 8, 6), (8, 6), (8, 6, 3)])
def test_arrays_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    dataset = Made(lambda index: (np.zeros(shape, np.uint8), index))
    assert from_dataset(dataset, size=(8, 6)).fields[0].shape == shape
    with pytest.raises(BadInput, match=r"arrays of \[8, 6\] \(height, width\), not of \[6, 8\]"):
        from_dataset(dataset, size=(6, 8))


@pytest.mark.parametrize("item", [lambda k: picture(k, 9, 7), lambda k: encoded(picture(k, 9, 7))])
def test_pictures_and_files_get_a_size(item: Callable[[int], Any]) -> None:
    source = from_dataset(Made(lambda index: (item(index), index)), size=(8, 6), mode="L")
    assert np.shape(source.read([3]).columns["image"][0])[:2] == (8, 6)


def test_chance_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refuse_chance(from_dataset(Made(lambda index: (picture(index, 9, 7), index))))
    refuse_chance(from_dataset(Made(lambda index: (np.full((4, 4), np.nan, np.float32), index))))
    with pytest.raises(BadInput, match="sample 0 has another image whenever it is asked for"):
        refuse_chance(from_dataset(Made(lambda index: (rng.random((3, 4, 4), np.float32), index))))
    with pytest.raises(BadInput, match="sample 0 has another label"):
        refuse_chance(from_dataset(Made(lambda index: (picture(index, 9, 7), int(rng.integers(1 << 40))))))


def test_a_folder_of_torchvision_is_read_from_its_files(tmp_path: Path) -> None:
    files = sorted(path for path in folder(tmp_path / "f", 2).rglob("img*"))
    dataset = Made(lambda index: None)
    dataset.samples = [(str(path), 0) for path in files]  # type: ignore[attr-defined]
    source = from_dataset(dataset)
    refuse_chance(source)
    assert list(source.read([0]).columns["image"]) == [files[0].read_bytes()]
