"""Boxes of torchvision's rule, written down a second time; refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.augment import CenterCrop, RandomResizedCrop, Resize
from imgassets.augment.crops import TRIES
from imgassets.errors import BadInput

sides = st.integers(1, 3000)
numbers = st.lists(st.floats(0, 1, exclude_max=True), min_size=4 * TRIES + 4, max_size=4 * TRIES + 4)
ranges = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(lambda pair: (min(pair), max(pair)))
ratios = st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)).map(lambda pair: (min(pair), max(pair)))


def published(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], drawn: list[float]
) -> tuple[int, int, int, int]:
    """(top, left, rows, columns) of `RandomResizedCrop` as torchvision's documentation and code have it."""
    for area, aspect, below, right in np.reshape(drawn[: 4 * TRIES], (TRIES, 4)).tolist():
        target = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        low, high = np.log(ratio[0]), np.log(ratio[1])
        wanted = np.exp(low + (high - low) * aspect)
        w, h = round(np.sqrt(target * wanted)), round(np.sqrt(target / wanted))
        if 1 <= w <= width and 1 <= h <= height:
            return math.floor(below_of(height - h, below)), math.floor(below_of(width - w, right)), h, w
    own = width / height
    w, h = width, height
    if own < min(ratio):
        h = max(1, round(w / min(ratio)))
    elif own > max(ratio):
        w = max(1, round(h * max(ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def below_of(largest: int, number: float) -> float:
    """A number of 0..largest, each as probable."""
    return number * (largest + 1)


@given(height=sides, width=sides, scale=ranges, ratio=ratios, drawn=numbers)
def test_boxes_are_torchvision_s(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], drawn: list[float]
) -> None:
    crop = RandomResizedCrop(224, scale, ratio).crop(height, width, drawn)
    top, left, rows, columns = published(height, width, scale, ratio, drawn)
    assert (crop.top, crop.left, crop.height, crop.width) == (top, left, rows, columns)
    assert 0 <= crop.left < crop.left + crop.width <= width
    assert 0 <= crop.top < crop.top + crop.height <= height


@given(drawn=numbers, flip=st.floats(0, 1))
def test_one_number_decides_about_mirroring(drawn: list[float], flip: float) -> None:
    crops = [RandomResizedCrop(224, flip=p).crop(300, 400, drawn) for p in (0, flip, 1)]
    assert [crop.mirrored for crop in crops] == [False, drawn[4 * TRIES] < flip, True]
    assert len({crop[:4] for crop in crops}) == 1


def test_boxes_are_everywhere_and_of_every_area() -> None:
    random = np.random.default_rng(0)
    crop = RandomResizedCrop(224)
    boxes = np.array([crop.crop(300, 400, random.random(44).tolist()) for _ in range(4000)])
    left, top, width, height, mirrored = boxes.T
    area = width * height / (300 * 400)
    assert 0.07 < area.min() < 0.1
    assert area.max() > 0.95
    assert 0.74 < (width / height).min() < 0.78
    assert 1.28 < (width / height).max() < 1.35
    assert abs(mirrored.mean() - 0.5) < 0.04
    assert abs((left / np.maximum(400 - width, 1)).mean() - 0.5) < 0.03
    assert abs((top / np.maximum(300 - height, 1)).mean() - 0.5) < 0.04


@given(height=sides, width=sides, size=st.tuples(st.integers(16, 500), st.integers(16, 500)), part=st.floats(0.01, 1))
def test_centred_boxes(height: int, width: int, size: tuple[int, int], part: float) -> None:
    crop = CenterCrop(size, part).crop(height, width, [])
    assert 0 <= crop.left <= width - crop.width
    assert 0 <= crop.top <= height - crop.height
    assert min(crop.width, crop.height) >= 1
    assert abs(2 * crop.left - (width - crop.width)) <= 1
    assert abs(2 * crop.top - (height - crop.height)) <= 1
    scale = part * min(height / size[0], width / size[1])
    assert abs(crop.width - max(1, size[1] * scale)) <= 0.5
    assert abs(crop.height - max(1, size[0] * scale)) <= 0.5


def test_the_usual_validation() -> None:
    assert CenterCrop(224).crop(256, 400, [])[:4] == (88, 16, 224, 224)  # Resize(256) leaves it as it is
    assert CenterCrop(224).crop(768, 512, [])[:4] == (32, 160, 448, 448)
    assert Resize((100, 50)).crop(768, 512, [])[:4] == (0, 0, 512, 768)


@pytest.mark.parametrize(
    ("augment", "settings"),
    [
        *(
            (kind, {"size": size})
            for kind in (Resize, CenterCrop, RandomResizedCrop)
            for size in (0, 15, (224, 8), 1e3)
        ),
        *((RandomResizedCrop, {"size": 224, "scale": scale}) for scale in ((0, 1), (0.5, 0.2), (0.5, 1.1))),
        *((RandomResizedCrop, {"size": 224, "ratio": ratio}) for ratio in ((0, 1), (2, 1), (1, math.inf))),
        *((RandomResizedCrop, {"size": 224, "flip": flip}) for flip in (-0.1, 1.5, math.nan)),
        *((CenterCrop, {"size": 224, "fraction": part}) for part in (0, 1.2, math.nan)),
    ],
)
def test_settings_out_of_range_are_refused(augment: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"^{[*settings][-1]} .*expected"):
        augment(**settings)
