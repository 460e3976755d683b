"""Stores laid out as the conversion guide's own code lays them out, for its readers; `layout: guide` asks for them.

What `guide.py` reads: a file of images and one of labels for each shard, and `metadata/`. Ours lies in `.store/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from imgassets.columns import Columns, Field, as_bytes
from imgassets.commit import Stage
from imgassets.errors import BadInput
from imgassets.formats.one_way import OneWay
from imgassets.formats.ustar import END, header, member_bytes, padding
from imgassets.stores.codec import Codec
from imgassets.stores.codecs import guide, hdf5
from imgassets.stores.extents import Index
from imgassets.stores.storefile import StoreInfo

FIXED = frozenset({"memmap", "hdf5"})
"""Formats for images of one size; the guide's others hold image files."""
ROW = {"memmap": 0, "hdf5": 0, "parquet": 12, "ipc": 900, "tar": 1024}
"""About how many bytes a row takes beside the image."""
Kept = list[Any]


def guide_codec(format_: str) -> Codec:
    """The guide's layout in one of its formats.

    Raises:
        BadInput: it has none of this name.
    """
    if format_ not in WRITERS:
        raise BadInput(f"layout: guide has no {format_}, only {', '.join(WRITERS)}: choose one of these.")
    return Codec(
        name=guide.NAME,
        version=1,
        description="As the conversion guide's own code has it.",
        write=partial(_write, WRITERS[format_]),
        weigh=partial(_weigh, ROW[format_]),
        extents=guide.extents,
        stem=lambda split, shard, shards: str(shard),
        mine=lambda stem, name: re.fullmatch(rf"(images|labels)/\1_{stem}\.\w+", name) is not None,
        tidy=True,
        beside=_metadata,
    )


def _write(
    images_of: Callable[[Stage, str, Field, int, Iterator[Any], str], None],
    stage: Stage,
    stem: str,
    fields: Sequence[Field],
    rows: int,
    blocks: Iterable[Columns],
    options: Mapping[str, Any],
) -> None:
    """Images go to the disk block by block; labels, which are small, after them."""
    image, label = fields
    labels: Kept = []

    def images() -> Iterator[Any]:
        for block in blocks:
            labels.append(block[label.name])
            yield block[image.name]

    images_of(stage, f"images/images_{stem}", image, rows, images(), "images")
    images_of(stage, f"labels/labels_{stem}", label, rows, iter(labels), "labels")


def _memmap(stage: Stage, stem: str, field: Field, rows: int, blocks: Iterator[Any], name: str) -> None:
    with stage.create(f"{stem}.npy") as sink:
        for block in blocks:
            sink.write(as_bytes(field, block).data)


def _hdf5(stage: Stage, stem: str, field: Field, rows: int, blocks: Iterator[Any], name: str) -> None:
    plain = replace(field, name=name, shape=field.shape[:2] if field.shape[2:] == (1,) else field.shape)
    shaped = ({name: np.asarray(block).reshape(-1, *plain.shape)} for block in blocks)
    hdf5.write(stage, stem, [plain], rows, shaped, {})


def _parquet(stage: Stage, stem: str, field: Field, rows: int, blocks: Iterator[Any], name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(name, _type(field))])
    with (
        stage.create(f"{stem}.parquet") as sink,
        pa.PythonFile(OneWay(sink), mode="w") as file,
        pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer,
    ):
        for block in blocks:
            writer.write_table(pa.table([_array(field, block)], schema=schema))


def _ipc(stage: Stage, stem: str, field: Field, rows: int, blocks: Iterator[Any], name: str) -> None:
    import pyarrow as pa

    schema = pa.schema([pa.field("image_data" if name == "images" else "label", _type(field))])
    with (
        stage.create(f"{stem}.parquet") as sink,  # the guide's name for it
        pa.PythonFile(OneWay(sink), mode="w") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for block in blocks:
            column = _array(field, block)
            for row in range(len(column)):
                writer.write_batch(
                    pa.RecordBatch.from_arrays([pa.concat_arrays([column[row : row + 1]])], schema=schema)
                )


def _tar(stage: Stage, stem: str, field: Field, rows: int, blocks: Iterator[Any], name: str) -> None:
    if name == "labels":
        with stage.create(f"{stem}.json") as sink:
            sink.write(json.dumps([int(value) for block in blocks for value in np.asarray(block)]).encode())
        return
    row = 0
    with stage.create(f"{stem}.tar") as sink:
        for block in blocks:
            for data in block:
                sink.writev((header(f"image_{row}", len(data)), data, padding(len(data))))
                row += 1
        sink.write(END)


def _type(field: Field) -> Any:
    import pyarrow as pa

    return pa.binary() if field.kind == "file" else pa.int64()


def _array(field: Field, block: Any) -> Any:
    import pyarrow as pa

    return pa.array([bytes(row) for row in block] if field.kind == "file" else np.asarray(block), _type(field))


WRITERS: Mapping[str, Any] = {"memmap": _memmap, "hdf5": _hdf5, "parquet": _parquet, "ipc": _ipc, "tar": _tar}


def _weigh(
    row: int, fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    data = sum(int(member_bytes(sizes[f.name]).sum()) if f.ragged else rows * f.nbytes for f in fields)
    return data + rows * row + 10_000


def _metadata(info: StoreInfo, split: str) -> Mapping[str, bytes]:
    """`metadata/`, by which the guide's readers find a row: all files but the last must be full."""
    per_file, image = int(info.source["images_per_file"]), info.field("image")
    if any(shard.skipped for shard in info.shards):
        raise BadInput("layout: guide leaves no gaps, and some images cannot be used: mend or remove them.")
    fixed = (image.mode or "RGB", image.shape[:2]) if not image.ragged else (None, None)
    files = {"metadata": guide.metadata(info.rows, per_file, *fixed)}
    if info.class_to_idx:
        files["class_to_integer_mapping"] = dict(info.class_to_idx)
    return {f"metadata/{name}.json": json.dumps(document).encode() for name, document in files.items()}
