import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imgassets.formats.png_tar import PngTar, encode_png, read_pngs
from tests.formats.sinks import published, stage


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_pillow_reads_every_png(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    picture = Image.open(io.BytesIO(encode_png(image)))
    picture.verify()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)


def test_views_of_any_layout_are_written(tmp_path: Path) -> None:
    planar = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(encode_png(planar.transpose(1, 2, 0))))), planar.transpose(1, 2, 0)
    )
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros((4, 4, 4), np.uint8))


def test_tar_of_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    made = stage(tmp_path)
    with made.create("images.tar") as sink:
        tar = PngTar(sink)
        for i, image in enumerate(images):
            tar.add(1_281_160 + i, image)
        tar.close()
    path = published(made) / "images.tar"
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == [f"sample_{1_281_160 + i}.png" for i in range(9)]
        assert {m.mtime for m in members} == {0}
    for (name, image), want in zip(read_pngs(path), images, strict=True):
        assert name.startswith("sample_128116")
        np.testing.assert_array_equal(image, want)
    assert path.stat().st_size % 512 == 0
