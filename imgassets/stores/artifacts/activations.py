"""One layer of a partition of activations as a store: what a probe or a linear classifier is trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgassets.classes import imagenet_classes
from imgassets.columns import Column, Field, array_field
from imgassets.commit import load
from imgassets.commit.stage import MANIFEST
from imgassets.errors import StoreError
from imgassets.formats.activation_npz import ActivationReader
from imgassets.sources.npz import open_npz
from imgassets.stores.artifacts.found import Found, Kind, record_of
from imgassets.stores.extents import Blocks, Extent, StoreFiles, Values, one_run
from imgassets.stores.storefile import Shard, StoreInfo

FORMAT = "activation-npz/1"


def _parts(folder: Path) -> Sequence[str]:
    first = folder / "batch_000000.npz"
    return [name.removesuffix(".npy") for name in open_npz(first).entries] if first.is_file() else []


def _open(folder: Path, layer: str) -> Found:
    batches = ActivationReader(folder).batches
    members = {path.stem: open_npz(path).npy(f"{layer}.npy") for path in batches}
    first = next(iter(members.values()))
    if any(m.shape[1:] != first.shape[1:] or m.dtype != first.dtype or m.fortran_order for m in members.values()):
        raise StoreError(f"{folder}: the batches of {layer} differ in shape; materialize the partition again.")
    image = array_field("image", first.dtype, _shape(folder, layer, first.shape[1:]))
    fields = (image, array_field("label", np.int64), Field("name", "text"))
    shards = tuple(
        Shard(stem, member.shape[0], (record_of(folder, f"{stem}.npz"), record_of(folder, f"{stem}.json")))
        for stem, member in members.items()
    )

    def extents(files: StoreFiles, stem: str, _: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
        values, notes = f"{stem}.npz", f"{stem}.json"
        member, samples = members[stem], cache(partial(_samples, folder / notes, rows))
        start, begin = member.data_offset, np.zeros(1, np.int64)
        packed = Blocks(values, begin, partial(_unpacked, folder / values, layer, image))
        yield "image", packed if start is None else one_run(values, start, image.nbytes)
        yield "label", Values(notes, lambda: np.array([sample["class_id"] for sample in samples()], np.int64))
        yield "name", Blocks(notes, begin, lambda k: [str(sample["original_path"]).encode() for sample in samples()])

    classes = imagenet_classes().class_to_idx
    return Found(StoreInfo(FORMAT, fields, shards, classes, {"kind": "activations", "layer": layer}), extents)


def _shape(folder: Path, layer: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """(channels, height, width) where the manifest knows them; batches hold rows without them."""
    with suppress(OSError, KeyError, TypeError, ValueError):
        known = tuple(int(n) for n in load(folder / MANIFEST).facts["layers"][layer])
        if math.prod(known) == math.prod(stored):
            return known
    return stored


def _samples(path: Path, rows: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(path.read_bytes())["samples"]
    if len(found) != rows:
        raise StoreError(f"{path} and its .npz disagree on the number of samples; materialize the partition again.")
    return found


def _unpacked(path: Path, layer: str, field: Field, block: int) -> Column:
    with np.load(path, allow_pickle=False) as archive:
        rows: NDArray[np.generic] = archive[layer]
    return rows.reshape(len(rows), *field.shape)


ACTIVATIONS = Kind(_parts, _open)
