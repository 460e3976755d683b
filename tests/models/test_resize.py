import numpy as np
import pytest
from PIL import Image

from imgassets.errors import BadInput
from imgassets.models.resize import find_resize, fit_planar, resize_image

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("side", [128, 256])
def test_larger_npz_images_are_reduced_as_pillows_box_filter_does(side: int) -> None:
    images = RNG.integers(0, 256, (3, 3, side, side), np.uint8)
    got = fit_planar(images, 64, None, "b.npz")
    for small, image in zip(got, images, strict=True):
        want = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((64, 64), Image.Resampling.BOX))
        np.testing.assert_array_equal(small.transpose(1, 2, 0), want)
        mean = image.reshape(3, 64, side // 64, 64, side // 64).mean(axis=(2, 4))
        assert np.abs(small - mean).max() <= 1
    np.testing.assert_array_equal(fit_planar(np.full_like(images, 255), 64, None, ""), 255)


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("name", ["nearest", "bicubic", "lanczos"])
def test_smaller_npz_images_are_enlarged_by_the_named_filter(side: int, name: str) -> None:
    images = RNG.integers(0, 256, (2, 3, side, side), np.uint8)
    got = fit_planar(images, 64, name, "b.npz")
    want = Image.fromarray(images[1].transpose(1, 2, 0)).resize((64, 64), Image.Resampling[name.upper()])
    np.testing.assert_array_equal(got[1].transpose(1, 2, 0), np.asarray(want))


def test_images_of_the_right_size_are_untouched() -> None:
    images = RNG.integers(0, 256, (2, 3, 64, 64), np.uint8)
    assert fit_planar(images, 64, None, "") is images


@pytest.mark.parametrize(
    ("shape", "dtype", "enlarge", "message"),
    [
        ((1, 3, 32, 32), np.uint8, None, "name the filter in `enlarge`"),
        ((1, 3, 32, 32), np.uint8, "cubic", "name the filter"),
        ((1, 3, 100, 100), np.uint8, None, "images of 100 pixels"),
        ((1, 3, 48, 48), np.uint8, None, "images of 48 pixels"),
        ((1, 1, 64, 64), np.uint8, None, r"found uint8 \[1, 1, 64, 64\]"),
        ((1, 3, 64, 32), np.uint8, None, r"\[1, 3, 64, 32\]"),
        ((1, 3, 64, 64), np.float32, None, "float32"),
    ],
)
def test_npz_images_of_another_kind_are_refused(
    shape: tuple[int, ...], dtype: type, enlarge: str | None, message: str
) -> None:
    with pytest.raises(BadInput, match=rf"train_data_batch_2.*{message}"):
        fit_planar(np.zeros(shape, dtype), 64, enlarge, "train_data_batch_2")


def test_stretch_keeps_the_edges_and_crop_keeps_the_aspect() -> None:
    wide = np.zeros((100, 200, 3), np.uint8)
    wide[:, :40] = 255
    stretched = resize_image(wide, 64, find_resize("lanczos_stretch"), "a.jpg")
    cropped = resize_image(wide, 64, find_resize("box_center_crop"), "a.jpg")
    assert stretched.shape == cropped.shape == (3, 64, 64)
    assert stretched[0, 32, 5] == 255
    assert not cropped.any()
    want = np.asarray(Image.fromarray(wide).resize((64, 64), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(stretched.transpose(1, 2, 0), want)


def negative(image: np.ndarray, size: int) -> np.ndarray:
    return 255 - image[:size, :size]


def test_ones_own_function_by_name_or_itself() -> None:
    image = RNG.integers(0, 256, (70, 80, 3), np.uint8)
    for how in (negative, f"{__name__}:negative"):
        got = resize_image(image, 64, find_resize(how), "a.jpg")
        np.testing.assert_array_equal(got.transpose(1, 2, 0), 255 - image[:64, :64])
    with pytest.raises(BadInput, match=r"a.jpg: the resizing gave uint8 \[60, 60, 3\]"):
        resize_image(image, 64, lambda i, _: i[:60, :60], "a.jpg")
    for name, message in (
        ("lanczos", "choose"),
        ("os:nothing", "nothing"),
        ("no.such:f", "no"),
        ("os:sep", "no function"),
    ):
        with pytest.raises(BadInput, match=message):
            find_resize(name)


@pytest.mark.parametrize(
    "image", [np.zeros((70, 70), np.uint8), np.zeros((70, 70, 4), np.uint8), np.zeros((64, 64, 3))]
)
def test_images_of_another_mode_are_refused(image: np.ndarray) -> None:
    with pytest.raises(BadInput, match=r"a.jpg: an RGB image of 8 bits"):
        resize_image(image, 64, find_resize("lanczos_stretch"), "a.jpg")
