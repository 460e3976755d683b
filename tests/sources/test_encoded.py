"""Pixels as image files: what is decoded again is what the source has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imgassets import convert, open_store
from imgassets.errors import BadInput
from imgassets.sources.arrays import ArraySource
from imgassets.sources.encoded import Encoded
from imgassets.stores.registry import DEFAULT
from imgassets.stores.writing import StorePlan
from imgassets.testing.making import arrays

KINDS = [("HWC", "|u1", 1), ("HWC", "|u1", 3), ("HWC", "|u1", 4), ("CHW", "|u1", 3), ("HW", "<u2", 1), ("HW", "|b1", 1)]


@given(st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_a_png_has_the_source_s_pixels(kind: tuple[str, str, int], height: int, width: int, seed: int) -> None:
    layout, dtype, channels = kind
    shape = {"HWC": (height, width, channels), "CHW": (channels, height, width), "HW": (height, width)}[layout]
    pixels = np.random.default_rng(seed).integers(0, 60000, (4, *shape)).astype(dtype)
    source = Encoded(ArraySource([(pixels, np.arange(4))], layout=layout))
    wanted = pixels.transpose(0, 2, 3, 1) if layout == "CHW" else pixels
    found: Any = source.read([2, 0]).columns
    for file, row in zip(found["image"], (2, 0), strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))).reshape(wanted[row].shape), wanted[row])
    assert found["label"].tolist() == [2, 0]


@pytest.mark.parametrize("format_", DEFAULT)
def test_a_store_of_them_gives_the_same_items(tmp_path: Path, format_: str) -> None:
    source = arrays(7)
    plain = convert(source, tmp_path / "plain", format=format_)
    files = convert(source, tmp_path / "files", format=format_, layout="huggingface")
    assert plain
    assert files
    wanted, found = open_store(plain), open_store(files)
    assert [field.kind for field in found.fields] == ["file", "array"]
    for k in range(7):
        assert torch.equal(found[k][0], wanted[k][0])
        assert found[k][1] == wanted[k][1]


@pytest.mark.parametrize(
    "source",
    [
        arrays(3, (2, 5, 5)),
        arrays(3, (5, 5, 1), np.float32, layout="HWC", mode="F"),
        arrays(3, (5, 5, 3), np.uint16, layout="HWC"),
        arrays(3, (5, 5, 3), layout="HWC", mode="HSV"),
    ],
)
def test_what_a_png_cannot_hold_is_refused(source: ArraySource) -> None:
    with pytest.raises(BadInput, match="do not fit into PNG"):
        StorePlan("parquet", layout="huggingface").prepared(source)


def test_a_layout_that_there_is_not() -> None:
    with pytest.raises(BadInput, match="layout is 'x': choose one of own, huggingface, guide"):
        StorePlan("parquet", layout="x")  # type: ignore[arg-type]
