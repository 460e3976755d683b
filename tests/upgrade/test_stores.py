"""Image stores of every version of every format, each made by the last commit that wrote it, are read for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from imgassets import convert, open_store
from imgassets.commit import load
from imgassets.sources.folder import class_folder
from imgassets.stores.codec import plain_stem
from imgassets.stores.registry import BUNDLED, codec_of
from imgassets.testing.making import folder

STORES = Path(__file__).parent / "stores"
NAMES = sorted(path.name for path in STORES.iterdir())


def image(row: int) -> np.ndarray:
    """What was stored: three images of growing height of each class."""
    kind, k = divmod(row, 3)
    pixels = np.zeros((6 + k, 5, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 40 * k, np.arange(5) * 20, (10, 200)[kind]
    return pixels


def version_of(name: str) -> str:
    """`ipc/1` of `ipc-1-files`."""
    return "/".join(name.split("-")[:2])


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("pixels")])
def test_files(name: str) -> None:
    store = open_store(STORES / name)
    assert (store.info.format, store.class_to_idx) == (version_of(name), {"cat": 0, "dog": 1})
    store.verify()
    for row in range(6):
        pixels, label = store[row]
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), image(row))
        assert (label, store.name(row)) == (row // 3, f"{'cat' if row < 3 else 'dog'}/{row % 3}.png")


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("pixels")])
def test_pixels(name: str) -> None:
    store = open_store(STORES / name)
    assert store.info.format == version_of(name)
    store.verify()
    images, labels = store.batch(range(6))
    assert images.shape == (6, 3, 4, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images[:, 2, 0, 0].tolist() == [10, 10, 10, 200, 200, 200]
    assert images[:, 0, 0, 0].tolist() == [0, 40, 80, 0, 40, 80]


def test_every_earlier_version_has_its_stores() -> None:
    earlier = {version for name in BUNDLED for version in codec_of(name).formats[1:]}
    assert earlier == set(map(version_of, NAMES))


@pytest.mark.parametrize(("format_", "earlier"), [(name, k) for name in BUNDLED for k in codec_of(name).keeps])
def test_a_store_of_an_earlier_version_is_not_made_again(tmp_path: Path, format_: str, earlier: int) -> None:
    """A finished conversion stays finished, and one that is made anew is of today's version."""
    source = class_folder(folder(tmp_path / "images"))
    today = codec_of(format_)
    before = replace(today, version=earlier, reads=(), keeps=(), stem=plain_stem, tidy=False, beside=None)
    with patch("imgassets.stores.writing.codec_of", return_value=before):
        path = convert(tmp_path / "images", tmp_path / "out", format=format_)
    assert path
    was = (path / ".imgassets.json").read_bytes()
    assert open_store(path).info.format == before.format
    convert(tmp_path / "images", tmp_path / "out", format=format_)
    assert (path / ".imgassets.json").read_bytes() == was
    convert(tmp_path / "images", tmp_path / "out", format=format_, force=True)
    assert open_store(path).info.format == today.format
    assert len(open_store(path)) == len(source)


@pytest.mark.parametrize("name", ["ipc-1-files", "ipc-1-pixels"])
def test_manifests_without_a_checksum_of_their_own(name: str) -> None:
    path = STORES / name / ".imgassets.json"
    assert b'"checksum"' not in path.read_bytes()
    assert load(path).facts["rows"] == 6
