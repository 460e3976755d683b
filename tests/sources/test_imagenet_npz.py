from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgassets.errors import LIMIT, BadInput
from imgassets.sources.imagenet_npz import RESOLUTIONS, open_batch
from tests.sources.zips import Part, batch_parts, npy, npy_header, write, zip_bytes

WIDTH = 3 * 16 * 16
BOTH = pytest.mark.parametrize("deflated", [False, True], ids=["stored", "deflated"])


def arrays(rows: int = 4, resolution: int = 16, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "data": rng.integers(0, 256, (rows, 3 * resolution**2), dtype=np.uint8),
        "labels": rng.integers(1, 1001, rows),
        "mean": rng.random(3 * resolution**2) * 255,
    }


def save(path: Path, deflated: bool = False, **members: np.ndarray) -> Path:
    (np.savez_compressed if deflated else np.savez)(path, **members)
    return path


@BOTH
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_reads_what_numpy_writes(resolution: int, deflated: bool, tmp_path: Path) -> None:
    expected = arrays(5, resolution)
    batch = open_batch(save(tmp_path / "b.npz", deflated, **expected), resolution=resolution)
    assert (batch.rows, batch.resolution, batch.stored) == (5, resolution, not deflated)
    np.testing.assert_array_equal(np.concatenate([block.copy() for block in batch.blocks()]), expected["data"])
    np.testing.assert_array_equal(batch.labels(), expected["labels"])
    mean = batch.mean()
    assert mean is not None
    np.testing.assert_array_equal(mean, expected["mean"])
    assert (batch.labels().dtype, mean.dtype) == (np.int64, np.float64)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 40), step=st.integers(1, 50), deflated=st.booleans(), data=st.data())
def test_blocks_and_take_give_the_same_rows_as_numpy(
    tmp_path: Path, rows: int, step: int, deflated: bool, data: st.DataObject
) -> None:
    images = arrays(rows, seed=rows)["data"]
    batch = open_batch(save(tmp_path / "b.npz", deflated, data=images, labels=np.ones(rows, int)), resolution=16)
    blocks = [block.copy() for block in batch.blocks(step)]
    assert [len(block) for block in blocks] == [min(step, rows - start) for start in range(0, rows, step)]
    np.testing.assert_array_equal(np.concatenate(blocks), images)
    indices = data.draw(st.lists(st.integers(0, rows - 1), max_size=60))
    np.testing.assert_array_equal(batch.take(indices), images[np.array(indices, int)])
    out = np.full((len(indices), WIDTH), 7, np.uint8)
    assert batch.take(np.array(indices, np.uint16), out) is out
    np.testing.assert_array_equal(out, images[np.array(indices, int)])


@BOTH
def test_take_crosses_blocks_in_any_order(deflated: bool, tmp_path: Path) -> None:
    images = arrays(4000)["data"]  # 3 MB: several blocks
    batch = open_batch(save(tmp_path / "b.npz", deflated, data=images, labels=np.ones(4000, int)), resolution=16)
    for indices in ([3999, 0, 2000, 0], list(range(1000, 3000)), np.random.default_rng(0).permutation(4000)):
        np.testing.assert_array_equal(batch.take(indices), images[indices])


@BOTH
def test_take_refuses_what_numpy_would_bend(deflated: bool, tmp_path: Path) -> None:
    batch = open_batch(save(tmp_path / "b.npz", deflated, **arrays()), resolution=16)
    for wrong in ([-1], [4], [0, 1 << 40]):
        with pytest.raises(IndexError, match=r"rows 0\.\.3"):
            batch.take(wrong)
    for odd in ([0.5], [True, False, True, False], [[0, 1]], 1):
        with pytest.raises(ValueError, match="list of integers"):
            batch.take(odd)
    for out in (np.empty((1, WIDTH), np.uint8), np.empty((2, WIDTH), np.int8), np.empty((WIDTH, 2), np.uint8).T):
        with pytest.raises(ValueError, match="out must be"):
            batch.take([0, 1], out)
    with pytest.raises(ValueError, match="at least 1"):
        next(batch.blocks(0))


def test_images_are_the_bytes_in_place_and_read_only(tmp_path: Path) -> None:
    expected = arrays(9)
    batch = open_batch(save(tmp_path / "b.npz", **expected), resolution=16)
    images = batch.images
    np.testing.assert_array_equal(images, expected["data"])
    assert (images.shape, images.dtype, images.flags.writeable) == ((9, WIDTH), np.uint8, False)
    with pytest.raises(BadInput, match=r"deflated.*take"):
        _ = open_batch(save(tmp_path / "d.npz", True, **expected), resolution=16).images


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u4", "<i4", "<i8", ">i8", "<u8"])
def test_any_integer_labels(dtype: str, tmp_path: Path) -> None:
    labels = np.array([1, 100, 127, 3], dtype)
    batch = open_batch(save(tmp_path / "b.npz", **arrays() | {"labels": labels}), resolution=16)
    assert batch.labels().dtype == np.int64
    assert batch.labels().tolist() == [1, 100, 127, 3]


def test_mean_is_optional_and_extra_members_are_counted(tmp_path: Path) -> None:
    expected = arrays()
    del expected["mean"]
    parts = [*batch_parts().values()][:2]
    more = [Part("readme.txt", b"hello"), Part("sub/", b""), Part("sub/thing.npy", npy(np.array([{}], object)))]
    batch = open_batch(write(tmp_path / "b.npz", parts + more), resolution=16)
    assert batch.mean() is None
    found = batch.inspect()
    assert found.mean_difference is None
    assert found.ignored_members == ("readme.txt", "sub/", "sub/thing.npy")
    assert found.report()["ignored_members"]["count"] == 3


def changed(**members: Any) -> dict[str, Part]:
    """A sound batch in which members hold other arrays, other bytes, or are missing (None)."""
    parts = batch_parts()
    for name, value in members.items():
        if value is None:
            del parts[name]
        else:
            parts[name] = Part(f"{name}.npy", npy(value) if isinstance(value, np.ndarray) else value)
    return parts


IMAGES, LABELS = arrays()["data"], arrays()["labels"]
HEADERS_TELL: dict[str, tuple[dict[str, Any], str]] = {
    "no data": ({"data": None}, "no member data"),
    "no labels": ({"labels": None}, "no member labels"),
    "no members": ({"data": None, "labels": None, "mean": None}, "no member data"),
    "float data": ({"data": IMAGES.astype(np.float32)}, r"float32 \(4, 768\).*uint8"),
    "signed data": ({"data": IMAGES.view(np.int8)}, r"int8 \(4, 768\).*uint8"),
    "structured data": ({"data": np.zeros((4, WIDTH), [("v", "u1")])}, "expected uint8"),
    "pickled data": ({"data": IMAGES.astype(object)}, "pickled"),
    "NCHW": ({"data": IMAGES.reshape(4, 3, 16, 16)}, r"two dimensions.*reshape"),
    "one dimension": ({"data": IMAGES.ravel()}, "two dimensions"),
    "a scalar": ({"data": np.array(1, np.uint8)}, "two dimensions"),
    "column order": ({"data": np.asfortranarray(IMAGES)}, "Fortran"),
    "other resolution": ({"data": np.zeros((4, 3072), np.uint8)}, "32×32 images: set resolution to 32"),
    "other width": ({"data": np.zeros((4, 769), np.uint8)}, "expected 768 columns at resolution 16"),
    "no columns": ({"data": np.zeros((4, 0), np.uint8)}, "expected 768 columns"),
    "no rows": ({"data": IMAGES[:0], "labels": LABELS[:0]}, "at least one row"),
    "labels missing at the end": ({"labels": LABELS[:3]}, "4 rows of data but 3 labels"),
    "float labels": ({"labels": LABELS.astype(float)}, "float64.*integers"),
    "bool labels": ({"labels": LABELS > 0}, "bool.*integers"),
    "text labels": ({"labels": LABELS.astype("U4")}, "integers"),
    "pickled labels": ({"labels": LABELS.astype(object)}, "pickled"),
    "one-hot labels": ({"labels": np.eye(4, dtype=int)}, "one dimension"),
    "labels as a column": ({"labels": LABELS[:, None]}, "one dimension"),
    "short mean": ({"mean": np.zeros(5)}, r"mean is float64 \(5,\)"),
    "mean as an image": ({"mean": np.zeros((3, 16, 16))}, "mean is float64"),
    "float32 mean": ({"mean": np.zeros(WIDTH, np.float32)}, "mean is float32"),
    "data that is no npy": ({"data": b"hello" * 30}, "data.npy.*readable .npy header"),
    "empty data": ({"data": b""}, "data.npy.*readable .npy header"),
}
CONTENT_TELLS: dict[str, tuple[dict[str, Any], str]] = {
    "label 0": ({"labels": np.array([5, 0, 1, 0])}, r"row 1 has 0 \(2 of 4 rows.*counted from 0"),
    "label 1001": ({"labels": np.array([1, 1000, 1001, 1])}, r"row 2 has 1001 \(1 of 4"),
    "label -1": ({"labels": np.array([1, 1, 1, -1], np.int8)}, r"row 3 has -1"),
    "label 2^64-1": ({"labels": np.array([1, 1, 2**64 - 1, 1], np.uint64)}, "row 2 has 18446744073709551615"),
    "mean with NaN": ({"mean": np.r_[np.nan, np.zeros(WIDTH - 1)]}, "value 0 is nan"),
    "mean with infinity": ({"mean": np.r_[np.zeros(WIDTH - 1), -np.inf]}, "value 767 is -inf"),
}


@pytest.mark.parametrize("kind", HEADERS_TELL)
def test_headers_are_refused_before_content_is_read(kind: str, tmp_path: Path) -> None:
    members, words = HEADERS_TELL[kind]
    path = write(tmp_path / "train_data_batch_1.npz", changed(**members))
    with pytest.raises(BadInput, match=words) as caught:
        open_batch(path, resolution=16)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) <= LIMIT


@pytest.mark.parametrize("kind", CONTENT_TELLS)
def test_content_is_refused_when_read(kind: str, tmp_path: Path) -> None:
    members, words = CONTENT_TELLS[kind]
    batch = open_batch(write(tmp_path / "train_data_batch_1.npz", changed(**members)), resolution=16)
    with pytest.raises(BadInput, match=words) as caught:
        batch.inspect()
    assert str(batch.path) in str(caught.value)


def test_resolution_is_one_of_the_published(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="16, 32, 64, 128, 256, not 63"):
        open_batch(write(tmp_path / "b.npz", batch_parts()), resolution=63)


@BOTH
@pytest.mark.parametrize("name", ["data", "labels", "mean"])
def test_a_flipped_bit_is_found_in_every_member(name: str, deflated: bool, tmp_path: Path) -> None:
    parts = batch_parts(rows=64, deflated=deflated)
    whole = bytearray(zip_bytes(list(parts.values())))
    path = tmp_path / "b.npz"
    path.write_bytes(whole)
    entry = open_batch(path, resolution=16).members[name]
    whole[entry.offset + entry.packed_bytes - 20] ^= 4
    path.write_bytes(whole)
    batch = open_batch(path, resolution=16)
    with pytest.raises(BadInput, match=rf"{name}\.npy (is damaged|cannot be inflated|inflates to|ends|has bytes)"):
        batch.inspect()


@BOTH
def test_a_wrong_crc_is_known_before_the_last_block(deflated: bool, tmp_path: Path) -> None:
    parts = batch_parts(rows=10, deflated=deflated)
    wrong = {"crc": zlib.crc32(parts["data"].content) ^ 1}
    parts["data"].local = parts["data"].central = wrong
    batch = open_batch(write(tmp_path / "b.npz", parts), resolution=16)
    seen = []
    with pytest.raises(BadInput, match="CRC-32"):
        seen.extend(len(block) for block in batch.blocks(4))
    assert seen == [4, 4]
    assert [len(block) for block in batch.blocks(4, verify=False)] == [4, 4, 2]


@BOTH
def test_memory_does_not_grow_with_the_batch(deflated: bool, tmp_path: Path) -> None:
    path, rows = tmp_path / "b.npz", 4000
    data = np.tile(np.random.default_rng(0).integers(0, 256, (1, 12_288), dtype=np.uint8), (rows, 1))
    save(path, deflated, data=data, labels=np.ones(rows, np.int16), mean=np.zeros(12_288))
    del data
    batch = open_batch(path, max_ratio=2000)
    tracemalloc.start()
    batch.inspect()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20  # the images are 47 MiB


@BOTH
def test_inspection_counts_everything(deflated: bool, tmp_path: Path) -> None:
    expected = arrays(1700)  # more than one block
    batch = open_batch(save(tmp_path / "b.npz", deflated, **expected), resolution=16)
    steps: list[int] = []
    found = batch.inspect(steps.append)
    assert sum(steps) == expected["data"].nbytes > max(steps)
    assert found.class_counts == tuple(np.bincount(expected["labels"], minlength=1001)[1:])
    assert (found.label_min, found.label_max) == (expected["labels"].min(), expected["labels"].max())
    np.testing.assert_array_equal(found.pixel_sums, expected["data"].sum(0, dtype=np.int64))
    assert found.mean_difference == pytest.approx(np.abs(expected["data"].mean(0) - expected["mean"]).max())
    planes = expected["data"].reshape(1700, 3, -1)
    for i, channel in enumerate(found.channels):
        assert (channel.min, channel.max) == (planes[:, i].min(), planes[:, i].max())
        assert channel.mean == pytest.approx(planes[:, i].mean(), rel=1e-12)
        assert channel.std == pytest.approx(planes[:, i].std(), rel=1e-12)


def test_report_is_the_same_json_wherever_the_file_lies(tmp_path: Path) -> None:
    texts = []
    for folder in ("here", "somewhere/else"):
        (tmp_path / folder).mkdir(parents=True)
        path = save(tmp_path / folder / "b.npz", **arrays(3))
        texts.append(json.dumps(open_batch(path, resolution=16).inspect().report(), allow_nan=False))
    assert texts[0] == texts[1]
    report = json.loads(texts[0])
    assert (report["file"], report["rows"], report["labels"]["classes_present"]) == ("b.npz", 3, 3)
    assert [member["name"] for member in report["members"]] == ["data.npy", "labels.npy", "mean.npy"]
    assert [member["shape"] for member in report["members"]] == [[3, 768], [3], [768]]
    assert all(member["method"] == "stored" and member["crc_verified"] for member in report["members"])


def test_a_file_that_changes_after_opening_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "b.npz", **arrays(4))
    batch = open_batch(path, resolution=16)
    save(path, **arrays(5))
    for read in (batch.labels, batch.mean, batch.inspect, lambda: next(batch.blocks()), lambda: batch.take([0])):
        with pytest.raises(BadInput, match="changed"):
            read()
    with pytest.raises(BadInput, match="changed"):
        _ = batch.images


class Sparse(io.FileIO):
    """A file in which written zeros become holes."""

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if len(view) < 1 << 20 or any(view[-4096:]):
            return super().write(view)
        self.seek(len(view), io.SEEK_CUR)
        return len(view)


@pytest.mark.slow
def test_a_stored_member_above_4_gib(tmp_path: Path) -> None:
    path, rows = tmp_path / "b.npz", 350_000
    last = np.random.default_rng(0).integers(0, 256, 12_288, dtype=np.uint8)
    with Sparse(path, "w") as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("data.npy", "w", force_zip64=True) as member:
            member.write(npy_header(f"({rows}, 12288)"))
            black = bytes(12_288 * 1000)
            for _ in range(rows // 1000 - 1):
                member.write(black)
            member.write(black[12_288:])
            member.write(last.tobytes())
        archive.writestr("labels.npy", npy(np.full(rows, 7, np.int16)))
    batch = open_batch(path)
    assert batch.rows == rows
    assert batch.members["data"].bytes > 1 << 32 < batch.members["labels"].offset
    np.testing.assert_array_equal(batch.take([rows - 1, 5])[0], last)
    np.testing.assert_array_equal(batch.images[rows - 1], last)
    found = batch.inspect()
    assert found.class_counts[6] == rows
    np.testing.assert_array_equal(found.pixel_sums, last)
