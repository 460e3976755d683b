"""`layout: guide`: what the guide's own readers do with the files gives the rows, as our reader of such stores does."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import h5py  # noqa: TID253
import numpy as np
import pyarrow as pa  # noqa: TID253
import pyarrow.parquet as pq  # noqa: TID253
import pytest
import torch  # noqa: TID253
from PIL import Image

from imgassets import convert, open_store
from imgassets.errors import BadInput
from imgassets.sources.arrays import ArraySource
from imgassets.sources.base import Source
from imgassets.sources.folder import class_folder, label_folder
from imgassets.testing.making import arrays, dense, folder, write

PER_FILE = 4


def numbered(path: Path, name: str) -> list[Path]:
    return sorted((path / name).iterdir(), key=lambda file: int(file.stem.rpartition("_")[2]))


def as_the_guide_reads(path: Path, format_: str) -> list[tuple[Any, Any]]:
    """Rows as its readers take them out of the files: images as what Pillow opens."""
    about = json.loads((path / "metadata" / "metadata.json").read_bytes())
    rows = []
    for images, labels in zip(numbered(path, "images"), numbered(path, "labels"), strict=True):
        if format_ == "memmap":
            channels = {"L": (), "RGB": (3,)}[about["mode"]]
            pixels = np.memmap(images, np.uint8, "r").reshape(-1, *about["shape"], *channels)
            rows += zip(pixels, np.memmap(labels, np.int64, "r"), strict=True)
        elif format_ == "hdf5":
            with h5py.File(images) as file, h5py.File(labels) as other:
                rows += zip(map(Image.fromarray, file["images"][:]), other["labels"][:].astype(np.int64), strict=True)
        elif format_ == "parquet":
            columns = (pq.ParquetFile(file, memory_map=True).read()[0].to_pylist() for file in (images, labels))
            rows += zip(*columns, strict=True)
        elif format_ == "ipc":
            found = [pa.ipc.open_file(pa.memory_map(str(file))) for file in (images, labels)]
            batches = range(found[0].num_record_batches)
            rows += [tuple(one.get_batch(k)[0][0].as_py() for one in found) for k in batches]
        else:
            with tarfile.open(images) as archive:
                members = archive.getmembers()
                assert [member.name for member in members] == [f"image_{k}" for k in range(len(members))]
                data = [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
            rows += zip(data, json.loads(labels.read_bytes()), strict=True)
    assert len(rows) == about["len"] == PER_FILE * (about["total_num_arrays"] - 1) + about["len_last_array"]
    return rows


@pytest.mark.parametrize("format_", ["memmap", "hdf5", "parquet", "ipc", "tar"])
@pytest.mark.parametrize("kind", ["CHW", "HWC", "HW", "files"])
def test_rows_are_the_source_s(tmp_path: Path, format_: str, kind: str) -> None:
    shape = {"CHW": (3, 6, 5), "HWC": (6, 5, 3), "HW": (6, 5)}.get(kind, ())
    source: Source = arrays(11, shape, layout=kind) if shape else class_folder(folder(tmp_path / "images", 3))
    if kind == "files" and format_ in {"memmap", "hdf5"}:
        with pytest.raises(BadInput, match="set a size"):
            convert(source, tmp_path / "out", format=format_, layout="guide")
        return
    plain = open_store(convert(source, tmp_path / "plain", format=format_, images_per_file=PER_FILE) or "")
    path = convert(source, tmp_path / "out", format=format_, images_per_file=PER_FILE, layout="guide")
    assert path
    assert sorted(p.name for p in path.iterdir()) == [".imgassets.json", ".store", "images", "labels", "metadata"]
    classes = json.loads((path / "metadata" / "class_to_integer_mapping.json").read_bytes())
    assert classes == plain.class_to_idx
    rows = as_the_guide_reads(path, format_)
    ours = open_store(path)
    ours.verify()
    shutil.copytree(path, tmp_path / "theirs", ignore=shutil.ignore_patterns(".*"))
    theirs = open_store(tmp_path / "theirs")
    assert len(ours) == len(theirs) == len(plain) == len(rows)
    for k, (image, label) in enumerate(rows):
        picture = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(np.asarray(image))
        pixels, number = plain[k]
        assert label == number
        assert torch.equal(ours[k][0], pixels)
        assert ours[k][1] == theirs[k][1] == number
        if theirs[k][0].shape == pixels.shape:  # else nothing says that a gray file is to be RGB
            assert torch.equal(theirs[k][0], pixels)
        if picture.mode in {"L", "RGB"}:
            found = np.asarray(picture if pixels.shape[0] == 1 else picture.convert("RGB"))
            assert np.array_equal(found.reshape(-1), pixels.permute(1, 2, 0).numpy().reshape(-1))


def test_label_images_of_any_size(tmp_path: Path) -> None:
    images, labels = dense(tmp_path)
    path = convert(images, tmp_path / "out", labels=labels, format="ipc", images_per_file=PER_FILE, layout="guide")
    source = label_folder(images, labels)
    assert path
    for k, (image, label) in enumerate(as_the_guide_reads(path, "ipc")):
        row: Any = source.read([k]).columns
        assert (image, label) == (row["image"][0], row["label"][0])
    assert torch.equal(open_store(path)[3][1], torch.as_tensor(np.array(Image.open(labels / "03.png"))))


def test_several_processes_make_the_same(tmp_path: Path) -> None:
    source = arrays(11)
    one = convert(source, tmp_path / "one" / "x", format="hdf5", images_per_file=PER_FILE, layout="guide")
    for rank in (1, 0, 2):
        many = convert(
            source,
            tmp_path / "many" / "x",
            format="hdf5",
            images_per_file=PER_FILE,
            layout="guide",
            rank=rank,
            world_size=3,
        )
    assert one
    assert many
    files = [p.relative_to(one) for p in one.rglob("*") if p.is_file()]
    assert len(files) == 3 * 3 + 1 + 1 + 2
    assert all((one / file).read_bytes() == (many / file).read_bytes() for file in files)


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    floats = ArraySource([(np.zeros((3, 4, 4), np.float32), np.arange(3))], layout="HW", mode="F")
    with pytest.raises(BadInput, match="do not fit into PNG"):
        convert(floats, tmp_path / "out", format="memmap", layout="guide")
    write(tmp_path / "images" / "class1" / "bad.jpg", b"")
    folder(tmp_path / "images", 2)
    with pytest.raises(BadInput, match="no gaps"):
        convert(tmp_path / "images", tmp_path / "out", format="tar", layout="guide", on_error="skip")
    assert not (tmp_path / "out").exists()
