"""Which samples the rows of each kind of artifact are, and where they lie: one function for each format."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.errors import StoreError
from imgassets.formats import tfrecord
from imgassets.formats.activation_npz import ActivationReader
from imgassets.formats.arrays import IMAGES, Arrays
from imgassets.formats.ct_shard import WrittenShard
from imgassets.formats.index import TABLE, IndexReader
from imgassets.formats.systemds_read import CsvFolder
from imgassets.formats.tf_example import image_example, parse
from imgassets.formats.ustar import scan
from imgassets.io.artifacts import Artifact, Artifacts
from imgassets.io.ct_rate import split_and_number
from imgassets.io.samples import Rows
from imgassets.places import Place, slice_of
from imgassets.sources.npz import open_npz
from imgassets.stores import Store

PRIVATE = {"report"}
"""Columns of patients' texts, which no command prints."""


def index_rows(
    artifact: Artifact, series: str, column: str | None, source: Callable[[Mapping[str, Any]], Place]
) -> Rows:
    """An index: `column` numbers its rows (None: their order does); `source` says where a row's sample comes from."""
    reader: IndexReader = artifact.open()

    def numbers() -> Any:
        if column is None:
            return np.arange(artifact.manifest.facts["rows"])
        return reader.table([column])[column].to_numpy()

    def about(row: int) -> dict[str, Any]:
        columns = [name for name in reader.schema.names if name not in PRIVATE]
        (found,) = reader.table(columns).slice(row, 1).to_pylist()
        return {name: value for name, value in found.items() if value is not None}

    return Rows(series, numbers, lambda row: Place(TABLE), lambda row: source(about(row)), about)


def array_rows(artifact: Artifact, series: str, first: int) -> Rows:
    """Arrays of the samples from `first` on."""
    reader: Arrays = artifact.open()

    def place(row: int) -> Place:
        images: Any = reader.images
        size = images[0].nbytes
        return slice_of(reader.path / IMAGES, IMAGES, images.offset + row * size, size)

    return Rows(
        series, lambda: first + np.arange(len(reader)), place, about=lambda row: _class(int(reader.labels[row]))
    )


def csv_rows(artifact: Artifact, series: str) -> Rows:
    """A CSV sample, whose sidecar lists its rows; a row's place is found by counting lines."""
    sample: CsvFolder = artifact.open()

    def place(row: int) -> Place:
        with sample.data.open("rb") as file:
            offset = sum(map(len, islice(file, row)))
            size = len(file.readline())
        return slice_of(sample.data, sample.data.name, offset, size, f"line {row + 1}")

    return Rows(series, lambda: sample.global_index, place)


def store_rows(artifact: Artifact, series: str, source: Callable[[int], Place] | None) -> Rows:
    """A store: all samples of the series, in order, without those that were left out."""
    store: Store = artifact.open()
    left_out = [int(entry["index"]) for entry in store.skipped]

    def numbers() -> Any:
        return np.delete(np.arange(len(store) + len(left_out)), left_out)

    def about(row: int) -> dict[str, Any]:
        label = store.info.field("label") if "label" in {f.name for f in store.fields} else None
        named = {"name": store.name(row)} if any(field.name == "name" for field in store.fields) else {}
        return named | ({"label": int(store.labels[row])} if label is not None and label.scalar else {})

    origin = None if source is None else lambda row: source(int(numbers()[row]))
    return Rows(series, numbers, store.place, origin, about)


def record_rows(artifact: Artifact, series: str, numbers: Callable[[], Any]) -> Rows:
    """A TFRecord shard of the samples `numbers`; a row's bytes are its JPEG."""
    records: tfrecord.TFRecordFile = artifact.open()

    def image(row: int) -> Any:
        return image_example(parse(records[row]))

    def place(row: int) -> Place:
        encoded = image(row).encoded
        offset = int(records.offsets[row]) + tfrecord.HEAD + records[row].index(encoded)
        return slice_of(records.path, records.path.name, offset, len(encoded), f"record {row}")

    def about(row: int) -> dict[str, Any]:
        found = image(row)
        return {name: getattr(found, name) for name in ("filename", "synset", "label", "width", "height")}

    return Rows(series, numbers, place, about=about)


def volume_rows(artifact: Artifact, dataset: str) -> Rows:
    """An index of CT volumes, whose checksums are those of the repository's listing."""

    def source(about: Mapping[str, Any]) -> Place:
        return Place(about.get("path", "nowhere"), about.get("size"), known=about.get("sha256", ""))

    return index_rows(artifact, f"{dataset}/{artifact.partition}", None, source)


def ct_rows(artifact: Artifact, dataset: str, index: Artifacts) -> Rows:
    """A CT shard, whose samples are found in the index by key; a row's bytes are its volume."""
    shard: WrittenShard = artifact.open()
    path, split = artifact.location.path, split_and_number(artifact.partition)[0]

    def numbers() -> Any:
        reader: IndexReader = index[split].open()
        places = {key: place for place, key in enumerate(reader.table(["key"])["key"].to_pylist())}
        return np.array([places.get(record.key, -1) for record in shard.samples], np.int64)

    def place(row: int) -> Place:
        record = shard.samples[row]
        offset, size = record.span("volume")
        return slice_of(path, path.name, offset, size, f"{record.key}.bin")

    def about(row: int) -> dict[str, Any]:
        record = shard.samples[row]
        return {"key": record.key, "shape": list(record.shape), "dtype": record.dtype}

    return Rows(f"{dataset}/{split}", numbers, place, about=about)


def activation_rows(artifact: Artifact, series: str) -> Rows:
    """Activations; a row's bytes are those of the first layer in its batch's NPZ file."""
    reader: ActivationReader = artifact.open()

    def batch(row: int) -> tuple[int, int]:
        return divmod(row, int(artifact.manifest.settings["batch_size"]))

    def place(row: int) -> Place:
        number, i = batch(row)
        path = reader.batches[number]
        npz = open_npz(path)
        name = next(iter(npz.entries))
        member = npz.npy(name)
        size = int(np.prod(member.shape[1:])) * member.dtype.itemsize
        if member.data_offset is None:
            layer = name.removesuffix(".npy")
            return Place(path.name, size, None, name, lambda: reader.read(number)[0][layer][i].tobytes())
        return slice_of(path, path.name, member.data_offset + i * size, size, name)

    def about(row: int) -> dict[str, Any]:
        number, i = batch(row)
        return dict(reader.read(number)[1][i])

    return Rows(series, lambda: reader.features(["global_index"])["global_index"].to_numpy(), place, about=about)


def png_rows(artifact: Artifact, series: str, name: str) -> Rows:
    """PNG images named by number, in `<name>.tar` or in the folder `<name>`."""
    folder = artifact.location.path
    archive = folder / f"{name}.tar"

    def members() -> list[tuple[str, int, int]]:
        if not archive.is_file():
            return [(file.name, 0, file.stat().st_size) for file in sorted((folder / name).glob("sample_*.png"))]
        with archive.open("rb") as file:
            return list(scan(file))

    def place(row: int) -> Place:
        member, offset, size = members()[row]
        if archive.is_file():
            return slice_of(archive, archive.name, offset, size, member)
        return slice_of(folder / name / member, f"{name}/{member}", offset, size)

    return Rows(series, lambda: np.array([int(member[7:-4]) for member, _, _ in members()], np.int64), place)


def point_rows(artifact: Artifact, series: str) -> Rows:
    """The real samples among the points of an embedding."""
    import pyarrow.csv

    (path,) = artifact.location.path.glob("*.csv")

    def table() -> Any:
        return pyarrow.csv.read_csv(path)

    def numbers() -> Any:
        points = table()
        return np.where(np.array(points["kind"].to_pylist()) == "real", points["global_index"].to_numpy(), -1)

    def place(row: int) -> Place:
        return Place(path.name, member=f"line {row + 2}")

    return Rows(series, numbers, place, about=lambda row: table().slice(row, 1).to_pylist()[0])


def _class(class_id: int) -> dict[str, Any]:
    classes = imagenet_classes()
    if not 0 <= class_id < len(classes.synsets):
        raise StoreError(f"{class_id} is no class_id 0..{len(classes.synsets) - 1}: verify the arrays.")
    synset, name = classes.described(class_id)
    return {"class_id": class_id, "synset": synset, "class_name": name}
