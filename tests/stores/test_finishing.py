"""Batches as a network takes them: normalized, of another dtype, channels last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253

from imgassets.augment import CenterCrop, RandomResizedCrop
from imgassets.errors import BadInput
from imgassets.sources.folder import class_folder
from imgassets.stores import Store, open_store
from imgassets.testing.making import arrays, folder, make

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(params=["CHW", "HWC", "files"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, dict[str, Any]]:
    """A store of RGB images, and what makes its loader's batches tensors."""
    if request.param == "files":
        path = make(tmp_path, class_folder(folder(tmp_path / "raw")), "tar")
        return open_store(path), {"augment": RandomResizedCrop(16)}  # type: ignore[return-value]
    shape = (3, 6, 5) if request.param == "CHW" else (6, 5, 3)
    return open_store(make(tmp_path, arrays(47, shape, layout=request.param), "memmap")), {}  # type: ignore[return-value]


def published(images: torch.Tensor) -> torch.Tensor:
    """`Normalize` of `ToTensor`, as torchvision documents them."""
    scaled = images.to(torch.float64) / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


@pytest.mark.parametrize("last", [None, True, False])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_normalized(pair: tuple[Store, dict[str, Any]], dtype: torch.dtype | None, last: bool | None) -> None:
    store, settings = pair
    finish = {"normalize": (MEAN, DEVIATION), "dtype": dtype, "channels_last": last}
    plain = [batch for batch, _ in store.loader(9, shuffle=True, **settings)]
    close = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype or torch.float32, 1e-5)
    for (images, labels), raw in zip(store.loader(9, shuffle=True, **finish, **settings), plain, strict=True):
        assert images.dtype == (dtype or torch.float32)
        assert len(labels) == len(images)
        torch.testing.assert_close(images.double(), published(raw), atol=close, rtol=close)
        wanted = last if last is not None else raw.stride(1) == 1
        assert images.is_contiguous(memory_format=torch.channels_last if wanted else torch.contiguous_format)


@pytest.mark.parametrize("dtype", [None, torch.uint8, torch.int64, torch.float32, torch.float16])
@pytest.mark.parametrize("last", [None, True, False])
def test_dtypes_keep_values(pair: tuple[Store, dict[str, Any]], dtype: torch.dtype | None, last: bool | None) -> None:
    store, settings = pair
    plain = torch.cat([images for images, _ in store.loader(9, **settings)])
    found = torch.cat([images for images, _ in store.loader(9, dtype=dtype, channels_last=last, **settings)])
    assert found.dtype == (dtype or torch.uint8)
    assert torch.equal(found.long(), plain.long())


@pytest.mark.parametrize(("kind", "largest"), [("uint16", 65535), ("float32", 1), ("bool", 1)])
def test_other_stored_numbers(kind: str, largest: int, tmp_path: Path) -> None:
    store = open_store(make(tmp_path, arrays(20, (4, 5), np.dtype(kind), layout="HW"), "memmap"))
    (plain, _), (found, _) = (next(iter(store.loader(20, **s))) for s in ({}, {"normalize": ([0.5], [0.25])}))
    torch.testing.assert_close(found.double(), (plain.double() / largest - 0.5) / 0.25, atol=1e-4, rtol=1e-5)


def test_kept_batches_stay_and_memory_is_used_again(tmp_path: Path) -> None:
    store = open_store(make(tmp_path, arrays(300, (3, 4, 4)), "memmap"))
    loader = store.loader(8, threads=1, prefetch=1, normalize=([0.5], [0.5]))
    kept = [(images, images.clone()) for images, _ in loader]
    assert all(torch.equal(*both) for both in kept)
    del kept
    assert len({images.data_ptr() for images, _ in loader}) <= 14


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"normalize": ([0.5], [0.5, 0.5])}, "one a channel"),
        ({"normalize": ([0.5], [0.0])}, "above 0"),
        ({"normalize": ([0.5],)}, "means and standard deviations"),
        ({"normalize": (0.5, 0.5)}, "one a channel"),
        ({"normalize": ([0.5], [0.5]), "dtype": torch.uint8}, "fractions"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    store = open_store(make(tmp_path, arrays(), "memmap"))
    with pytest.raises(BadInput, match=said):
        store.loader(4, **settings)


def test_images_of_many_sizes_are_refused_until_they_are_cropped(tmp_path: Path) -> None:
    path = make(tmp_path, class_folder(folder(tmp_path / "raw")), "tar")
    with pytest.raises(BadInput, match="set augment"):
        open_store(path).loader(4, dtype=torch.float32)
    with pytest.raises(BadInput, match="2 means, the images have 3 channels"):
        list(open_store(path).loader(4, augment=CenterCrop(16), normalize=([0.5, 0.5], [1, 1])))
    with pytest.raises(BadInput, match="set augment"):
        open_store(path, lambda image: image).loader(4, dtype=torch.float32, augment=CenterCrop(16))
