"""Crops in a loader: the same pixels of a row in an epoch, however many threads, ranks and resumes read it."""

from __future__ import annotations

import hashlib
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

from imgassets.augment import CenterCrop, RandomResizedCrop, Resize
from imgassets.augment.draws import draws
from imgassets.augment.fitting import fit
from imgassets.errors import BadInput, StoreError
from imgassets.sources.folder import class_folder
from imgassets.stores import Store, collate, open_store
from imgassets.stores.augmented import AugmentedStore
from imgassets.stores.loader import Loader
from imgassets.stores.registry import BUNDLED
from imgassets.testing.making import encoded, folder, make, picture, sources, write

CROP = RandomResizedCrop(24)


def made(root: Path, format_: str = "tar", **settings: Any) -> Store:
    found = open_store(make(root, class_folder(folder(root / "raw"), **settings), format_))
    assert isinstance(found, Store)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(tmp_path_factory.mktemp("store"))


def wanted(images: Store, seed: int, epoch: int, augment: Any = CROP) -> Counter[tuple[int, str]]:
    """(label, checksum of the pixels) of every row."""
    rows = np.arange(len(images))
    numbers = draws(seed, epoch, rows, augment.blocks).tolist()
    found: Counter[tuple[int, str]] = Counter()
    for row, drawn in enumerate(numbers):
        out = np.empty((*augment.shape, 3), np.uint8)
        fit(images.raw(row), "RGB", augment, drawn, out)
        found[int(images.labels[row]), checksum(torch.from_numpy(out).permute(2, 0, 1))] += 1
    return found


def checksum(image: torch.Tensor) -> str:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def seen(batches: Iterable[Any]) -> Counter[tuple[int, str]]:
    return Counter(
        (int(label), checksum(image)) for images, labels in batches for image, label in zip(images, labels, strict=True)
    )


@pytest.mark.parametrize("format_", BUNDLED)
def test_every_format_of_files(format_: str, tmp_path: Path) -> None:
    images = made(tmp_path, format_)
    loader = images.loader(7, shuffle=True, seed=3, augment=CROP)
    for epoch in range(2):
        assert seen(loader) == wanted(images, 3, epoch)
    assert wanted(images, 3, 0) != wanted(images, 3, 1)
    assert wanted(images, 4, 0) != wanted(images, 3, 0)


@pytest.mark.parametrize("threads", range(1, 9))
def test_any_number_of_threads(threads: int, store: Store) -> None:
    loader = store.loader(4, shuffle=True, seed=1, threads=threads, augment=CROP)
    batches = [images for images, _ in loader]
    alone = [images for images, _ in store.loader(4, shuffle=True, seed=1, threads=1, augment=CROP)]
    assert all(torch.equal(a, b) for a, b in zip(batches, alone, strict=True))


schedules = {
    "legs": st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 3)), max_size=4),
    "last": st.tuples(st.integers(1, 9), st.integers(1, 3)),
    "shuffle": st.sampled_from([False, True, "block"]),
    "epoch": st.integers(0, 3),
}


def same_pixels(
    images: Store, legs: list[tuple[int, int, int]], last: tuple[int, int], shuffle: Any, epoch: int
) -> None:
    """An epoch in legs of (batch size, ranks, steps) and the rest, each by loaders of its own."""
    state = {"seed": 5, "epoch": epoch, "used": 0, "rows": len(images)}
    found: Counter[tuple[int, str]] = Counter()
    for batch, world, steps in [*legs, (*last, None)]:
        if len(images) - state["used"] < world:
            continue
        settings = {"shuffle": shuffle, "seed": 9, "world_size": world, "augment": CROP}
        ranks = [images.loader(batch, rank=rank, **settings) for rank in range(world)]
        for loader in ranks:
            loader.load_state_dict(state)
            found += seen(islice(loader, steps))
        state = ranks[0].state_dict()
        if state["epoch"] > epoch:
            break
    complete = wanted(images, 5, epoch)
    assert found == complete if state["epoch"] > epoch else found <= complete


@given(**schedules)
@settings(deadline=None, max_examples=40)
def test_kills_and_resumes_in_other_worlds_give_the_same_pixels(store: Store, **schedule: Any) -> None:
    same_pixels(store, **schedule)


@pytest.mark.slow
@given(**schedules)
@settings(deadline=None, max_examples=1000)
def test_a_thousand_schedules_give_the_same_pixels(store: Store, **schedule: Any) -> None:
    same_pixels(store, **schedule)


def test_a_store_behind_a_url(store: Store) -> None:
    far = open_store(f"file://{store.path}")
    assert isinstance(far, Store)
    assert seen(far.loader(20, shuffle=True, seed=1, augment=CROP)) == wanted(store, 1, 0)


def test_a_batch_is_one_tensor_with_channels_last(store: Store) -> None:
    images, labels = next(iter(store.loader(6, augment=CenterCrop((20, 32)))))
    assert images.shape == (6, 3, 20, 32)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == store.labels[:6].tolist()


def test_memory_is_used_again_and_kept_batches_stay(store: Store) -> None:
    loader = store.loader(1, threads=1, prefetch=1, augment=Resize(16))
    kept = [(images, images.clone()) for images, _ in loader]
    assert all(torch.equal(*pair) for pair in kept)
    del kept
    places = set()
    for images, _ in loader:
        places.add(images.data_ptr())
        del images
    assert len(places) < len(store)


def test_transforms_take_the_crops(store: Store) -> None:
    images = Store(store.path, transform=lambda image: torch.tensor(image.size), target_transform=lambda label: -label)
    found = list(images.loader(5, augment=CenterCrop((20, 32))))
    assert torch.cat([sizes for sizes, _ in found]).tolist() == [[32, 20]] * len(images)
    assert torch.cat([labels for _, labels in found]).tolist() == (-images.labels).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_on_without_the_loader_gets_the_same_images(workers: int, store: Store) -> None:
    loader = store.loader(5, shuffle=True, seed=2, augment=CROP)
    assert len(list(loader)) == len(loader)
    assert isinstance(loader.dataset, AugmentedStore)
    batches = DataLoader(loader.dataset, batch_sampler=loader.batch_sampler, collate_fn=collate, num_workers=workers)
    for (images, labels), (others, numbers) in zip(batches, loader, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, numbers)
    image, label = loader.dataset[-1]
    assert image.shape == (3, 24, 24)
    assert label == store.labels[-1]


def test_a_store_of_grey_images_stays_grey(tmp_path: Path) -> None:
    batch, _ = next(iter(made(tmp_path, "ipc", mode="L").loader(4, augment=Resize(16))))
    assert batch.shape == (4, 1, 16, 16)


def test_a_damaged_image_is_the_store_s_error(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / "raw" / "a" / f"{k}.jpg", encoded(picture(k, 40, 50)))
    images = open_store(make(tmp_path, class_folder(tmp_path / "raw"), "tar"))
    assert isinstance(images, Store)
    (shard,) = Path(images.path).glob("*.tar")
    data = bytearray(shard.read_bytes())
    at = data.index(bytes(images.raw(1)))
    data[at : at + 2] = b"??"
    shard.write_bytes(data)
    damaged = open_store(images.path)
    with pytest.raises(StoreError, match=r"row 1: the image is no image.*verify the store"):
        list(damaged.loader(3, augment=CROP))
    with pytest.raises(StoreError, match=r"row 1: the image is no image.*verify the store"):
        list(damaged.loader(3))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("arrays", "has pixels of one size"),
        ("resized", "has pixels of one size"),
        ("dense files", "labels of more than a number"),
    ],
)
def test_what_cannot_be_cropped_is_refused(kind: str, said: str, tmp_path: Path) -> None:
    images = open_store(make(tmp_path, sources(tmp_path)[kind], "ipc"))
    with pytest.raises(BadInput, match=said):
        images.loader(4, augment=CROP)


def test_other_stores_and_modes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mode CMYK"):
        made(tmp_path, "ipc", mode="CMYK").loader(4, augment=CROP)

    class Rows:
        def __len__(self) -> int:
            return 4

    with pytest.raises(BadInput, match="not for a Rows"):
        Loader(Rows(), 2, augment=CROP)  # type: ignore[arg-type]
