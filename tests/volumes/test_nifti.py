"""The reader against nibabel, and every kind of broken file."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import LIMIT, BadInput
from imgassets.volumes.nifti import OUT, read_nifti
from tests.volumes.phantom import CODES, chest, gz, nifti_bytes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", sorted(CODES))
def test_reads_what_nibabel_reads(tmp_path: Path, kind: str, order: str) -> None:
    data = np.clip(chest((7, 5, 4)).astype(np.int64), 0 if kind[0] == "u" else -128, 127).astype(kind)
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gz(nifti_bytes(data, (0.7, 0.8, 1.25), slope=2.5, intercept=-1024, order=order)))
    volume, image = read_nifti(path), nibabel.load(path)
    hu = volume.voxels.astype(np.float64) * volume.slope + volume.intercept
    np.testing.assert_array_equal(hu.T, image.get_fdata())
    assert volume.voxels.dtype.isnative
    assert volume.shape_xyz == image.shape
    np.testing.assert_allclose(volume.spacing, image.header.get_zooms(), rtol=1e-7)


@given(st.tuples(st.integers(1, 40), st.integers(1, 30), st.integers(1, 9)), st.integers(0, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_any_shape_any_number_of_gzip_members(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], cuts: int, padded: bool
) -> None:
    data = chest(shape)
    raw = nifti_bytes(data)
    places = sorted({0, len(raw), *np.random.default_rng(cuts).integers(0, len(raw), cuts).tolist()})
    members = [gz(raw[a:b]) for a, b in itertools.pairwise(places)]
    path = tmp_path_factory.mktemp("v") / "v.nii.gz"
    path.write_bytes(b"".join(members) + b"\0" * (512 * padded))
    np.testing.assert_array_equal(read_nifti(path).voxels.T, data)


def test_longer_than_one_piece_and_uncompressed_and_unit_dims(tmp_path: Path) -> None:
    data = chest((128, 128, 80))
    raw = nifti_bytes(data, dims=(5, 128, 128, 80, 1, 1))
    assert len(raw) > 2 * OUT
    for name, content in (("a.nii.gz", gz(raw)), ("a.nii", raw)):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_nifti(tmp_path / name).voxels.T, data)


def test_slope_zero_means_unscaled(tmp_path: Path) -> None:
    (tmp_path / "v.nii").write_bytes(nifti_bytes(chest((4, 4, 4)), slope=0, intercept=7))
    volume = read_nifti(tmp_path / "v.nii")
    assert (volume.slope, volume.intercept) == (1.0, 0.0)


DATA = chest((24, 20, 12))
GOOD = nifti_bytes(DATA)
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut in the middle": (lambda: gz(GOOD)[: len(gz(GOOD)) // 2], "stops before its end"),
    "no trailer": (lambda: gz(GOOD)[:-8], "stops before its end"),
    "half a trailer": (lambda: gz(GOOD)[:-4], "stops before its end"),
    "second member cut": (lambda: gz(GOOD[:5000]) + gz(GOOD[5000:])[:-9], "stops before its end"),
    "junk after the member": (lambda: gz(GOOD) + b"junk", "stops before its end"),
    "not gzip": (lambda: b"<html>" + b"x" * 1000, "it is a web page that was saved in its place"),
    "empty": (lambda: b"", "0 bytes"),
    "short data": (lambda: gz(GOOD[:-100]), "ends after"),
    "too much data": (lambda: gz(GOOD + bytes(3 << 20)), "goes on past"),
    "magic": (lambda: gz(nifti_bytes(DATA, magic=b"oops")), "magic"),
    "header and image in two files": (lambda: gz(nifti_bytes(DATA, magic=b"ni1\0")), "single-file"),
    "four dims": (lambda: gz(nifti_bytes(DATA.reshape(24, 20, 6, 2))), "not 3-D"),
    "two dims": (lambda: gz(nifti_bytes(DATA[:, :, 0])), "not 3-D"),
    "zero dim": (lambda: gz(nifti_bytes(DATA, dims=(3, 24, 0, 12))), "impossible shape"),
    "negative dim": (lambda: gz(nifti_bytes(DATA, dims=(3, 24, -20, 12))), "impossible shape"),
    "nine dims": (lambda: gz(nifti_bytes(DATA, dims=(9, 24, 20, 12))), "9 dimensions"),
    "64 TiB": (lambda: gz(nifti_bytes(DATA, dims=(3, 32767, 32767, 32767))), "limit"),
    "type": (lambda: gz(nifti_bytes(DATA, code=128)), "datatype 128"),
    "spacing 0": (lambda: gz(nifti_bytes(DATA, (1, 1, 0))), "spacing"),
    "spacing NaN": (lambda: gz(nifti_bytes(DATA, (float("nan"), 1, 1))), "spacing"),
    "spacing negative": (lambda: gz(nifti_bytes(DATA, (1, -1, 1))), "spacing"),
    "slope NaN": (lambda: gz(nifti_bytes(DATA, slope=float("nan"))), "scl_slope"),
    "intercept inf": (lambda: gz(nifti_bytes(DATA, intercept=float("inf"))), "scl_inter"),
    "offset": (lambda: gz(nifti_bytes(DATA, offset=12)), "vox_offset"),
    "offset NaN": (lambda: gz(nifti_bytes(DATA, offset=float("nan"))), "vox_offset"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_refuses_with_one_line_that_names_the_file(tmp_path: Path, kind: str) -> None:
    make, reason = BROKEN[kind]
    path = tmp_path / "train_7_a_1.nii.gz"
    path.write_bytes(make())
    with pytest.raises(BadInput, match=r"train_7_a_1\.nii\.gz") as error:
        read_nifti(path)
    assert reason in str(error.value)
    assert len(str(error.value)) <= LIMIT
    assert "\n" not in str(error.value)


def test_every_flipped_bit_is_found_or_harmless(tmp_path: Path) -> None:
    whole = gz(GOOD)
    path = tmp_path / "v.nii.gz"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_nifti(path).voxels.T, DATA)
        except BadInput:
            refused += 1
    assert refused > 390  # the few others hit the gzip header's unused fields


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(256 << 20), 9))
    tracemalloc.start()
    with pytest.raises(BadInput, match="goes on past"):
        read_nifti(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
