"""Stores that the conversion-library guide's own code wrote (helmholtz-analytics/hpc_pytorch_loader), to be read.

Layout: `images/images_<k>.<ext>`, `labels/labels_<k>.<ext>` and `metadata/metadata.json`. Fixed size: raw bytes (uint8)
despite the name `.npy`, or HDF5 datasets `images` and `labels`. Any size: Parquet with one column of rows (v1) or one
column per image (v2), Arrow IPC with one record batch per image under the name `.parquet`, or tar with members
`image_<i>`. Nothing in it has a checksum, and its count of files can be wrong, so files are counted here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imgassets import documents
from imgassets.columns import Column, Field, array_field
from imgassets.commit import FileRecord
from imgassets.errors import StoreError
from imgassets.images.pixels import MODES
from imgassets.stores.extents import Blocks, Extent, Spans, StoreFiles, Values, one_run
from imgassets.stores.storefile import Shard, StoreInfo

NAME = "guide"
NAMES = (NAME, f"{NAME}/1")
"""Of what its own code wrote, and of what `layout: guide` writes."""


def find(folder: Path) -> StoreInfo | None:
    """What such a store holds; None if the folder is none.

    Raises:
        StoreError: files are missing, or of another size than the metadata say.
    """
    try:
        metadata = documents.parse((folder / "metadata" / "metadata.json").read_bytes())
        rows, per_file = int(metadata["len"]), int(metadata["num_images_per_array"])
        images, labels = (_numbered(folder, name) for name in ("images", "labels"))
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise StoreError(f"{folder}/metadata/metadata.json cannot be read ({error}).") from error
    if rows < 1 or per_file < 1:
        raise StoreError(f"{folder}/metadata/metadata.json says {rows} images, {per_file} a file.")
    expected = -(-rows // per_file)
    if not expected == len(images) == len(labels):
        raise StoreError(f"{folder} has {len(images)} image and {len(labels)} label files, {expected} are expected.")
    counts = [min(per_file, rows - start) for start in range(0, rows, per_file)]
    shards = [
        Shard(str(k), count, tuple(FileRecord(name, (folder / name).stat().st_size, "") for name in pair))
        for k, (count, pair) in enumerate(zip(counts, zip(images, labels, strict=True), strict=True))
    ]
    try:
        fields = _fixed_fields(metadata, shards[0]) if "shape" in metadata else _file_fields(folder, shards[0])
        return StoreInfo(NAME, fields, tuple(shards), _classes(folder), {"kind": "guide"})
    except Exception as error:  # pyarrow's, and whatever JSON of another kind leads to
        raise StoreError(f"{folder} cannot be read as a store of the guide ({error!r}): convert it again.") from error


def metadata(rows: int, per_file: int, mode: str | None, shape: Sequence[int] | None) -> dict[str, Any]:
    """What `metadata.json` says; mode and shape only of images of one size."""
    full, last = divmod(rows, per_file)
    files = {
        "num_images_per_array": per_file,
        "len": rows,
        "len_last_array": last,
        "total_num_arrays": full + (last > 0),
    }
    return files | ({"mode": mode} if mode else {}) | ({"shape": list(shape)} if shape else {})


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterable[tuple[str, Extent]]:
    """Where the rows of one pair of files lie."""
    images, labels = (_one(files, name, stem) for name in ("images", "labels"))
    image, label = fields
    suffix = images.rpartition(".")[2]
    found: tuple[Extent, Extent]
    if suffix == "npy":
        found = one_run(images, 0, image.nbytes), one_run(labels, 0, label.nbytes)
    elif suffix == "h5":
        found = _hdf5(files, images, "images", image), _hdf5(files, labels, "labels", label)
    elif suffix == "tar":
        found = _tar(files, images, rows), Values(labels, partial(_json, files, labels))
    else:
        found = _arrow(files, images, image, rows), _arrow(files, labels, label, rows)
    return zip(("image", "label"), found, strict=True)


def _numbered(folder: Path, name: str) -> list[str]:
    found = {int(path.stem.rpartition("_")[2]): f"{name}/{path.name}" for path in (folder / name).iterdir()}
    return [found[k] for k in sorted(found)]


def _one(files: StoreFiles, name: str, stem: str) -> str:
    folder = files.path(name)
    assert folder is not None, "read on this machine alone"
    return next(f"{name}/{path.name}" for path in folder.iterdir() if path.stem.rpartition("_")[2] == stem)


def _classes(folder: Path) -> dict[str, int]:
    path = folder / "metadata" / "class_to_integer_mapping.json"
    table = documents.parse(path.read_bytes()) if path.exists() else {}
    # of Caltech256 it holds names by number
    by_number = any(isinstance(number, str) for number in table.values())
    return {str(v): int(k) for k, v in table.items()} if by_number else {k: int(v) for k, v in table.items()}


def _fixed_fields(metadata: Mapping[str, Any], shard: Shard) -> tuple[Field, ...]:
    mode = str(metadata.get("mode", "RGB"))
    channels = MODES[mode][1]
    height, width = metadata["shape"]
    image = array_field("image", np.uint8, (height, width, channels), "HWC", mode)
    images, labels = shard.files
    if images.name.endswith(".npy") and labels.bytes == images.bytes:
        return image, array_field("label", np.uint8, image.shape if channels > 1 else (height, width))
    return image, array_field("label", np.int64)


def _file_fields(folder: Path, shard: Shard) -> tuple[Field, ...]:
    import pyarrow as pa

    labels = shard.files[1]
    dense = False
    if labels.name.endswith(".parquet"):
        with open(folder / labels.name, "rb") as file:
            dense = any(pa.types.is_binary(t) for t in _schema(file).types)
    return Field("image", "file"), Field("label", "file") if dense else array_field("label", np.int64)


def _schema(file: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.read(6) == b"ARROW1":
        file.seek(0)
        return pa.ipc.open_file(file).schema
    file.seek(0)
    return pq.ParquetFile(file).schema_arrow


def _hdf5(files: StoreFiles, name: str, dataset: str, field: Field) -> Extent:
    import h5py

    with files.open(name) as raw, h5py.File(raw, "r") as file:
        start = file[dataset].id.get_offset()
        if start is not None and file[dataset].dtype == field.dtype:
            return one_run(name, start, field.nbytes)
    return Blocks(name, np.zeros(1, np.int64), partial(_hdf5_rows, files, name, dataset, field))


def _hdf5_rows(files: StoreFiles, name: str, dataset: str, field: Field, k: int) -> Column:
    import h5py

    with files.open(name) as raw, h5py.File(raw, "r") as file:
        rows: Column = file[dataset][:].reshape(-1, *field.shape)
        return rows


def _tar(files: StoreFiles, name: str, rows: int) -> Spans:
    with files.open(name) as raw, tarfile.open(fileobj=raw) as file:
        members = {int(m.name.rpartition("_")[2]): (m.offset_data, m.size) for m in file}
    table = np.array([members[k] for k in range(rows)], np.int64)
    return Spans(name, table[:, 0].copy(), table[:, 1].copy())


def _json(files: StoreFiles, name: str) -> Any:
    with files.open(name) as file:
        return np.array(documents.parse(file.read()), np.int64)


def _arrow(files: StoreFiles, name: str, field: Field, rows: int) -> Extent:
    with files.open(name) as file:
        ipc = file.read(6) == b"ARROW1"
        file.seek(0)
        columns = len(_schema(file))
    values: Callable[[int | None], Any] = partial(_ipc if ipc else _parquet, files, name, columns)
    if not field.ragged:
        return Values(name, lambda: np.array(values(None), np.int64))
    if ipc or columns > 1:
        return Blocks(name, np.arange(rows), values)
    return Blocks(name, np.zeros(1, np.int64), lambda k: values(None))


def _ipc(files: StoreFiles, name: str, columns: int, k: int | None) -> list[Any]:
    import pyarrow as pa

    source: Any
    with files.open(name) as source:
        reader = pa.ipc.open_file(source)
        batches = range(reader.num_record_batches) if k is None else [k]
        return [reader.get_batch(b).column(0)[0].as_py() for b in batches]


def _parquet(files: StoreFiles, name: str, columns: int, k: int | None) -> list[Any]:
    import pyarrow.parquet as pq

    with files.open(name) as raw:
        table = pq.ParquetFile(raw).read(columns=None if k is None else [str(k)])
    return list(_flat(table))


def _flat(table: Any) -> Iterator[Any]:
    for column in table.columns:
        yield from column.to_pylist()
