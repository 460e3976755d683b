"""What a store's own files say wrongly is refused where it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets import open_store
from imgassets.errors import BadInput, StoreError
from imgassets.sources.arrays import ArraySource
from imgassets.stores.registry import BUNDLED
from imgassets.testing import making


def made(root: Path, format_: str) -> Path:
    making.make(root, making.arrays(11, (3, 8, 8)), format_, images_per_file=4, threads=1)
    return root / "store" / "a" / f"{format_}_store"


def own(store: Path, name: str) -> Path:
    """One of the files that only we read; in some formats they lie hidden."""
    return next(store.rglob(name))


def rewrite(store: Path, **changes: Any) -> None:
    path = own(store, "store.json")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


@pytest.mark.parametrize("shape", [[2, 8, 8], [128, 8, 8], [1 << 40, 1 << 40, 3]])
@pytest.mark.parametrize("format_", BUNDLED)
def test_rows_of_another_size_than_the_fields_say(tmp_path: Path, format_: str, shape: list[int]) -> None:
    """Read as the fields say, they would be other pixels, or memory beyond the store."""
    store = made(tmp_path, format_)
    fields = json.loads(own(store, "store.json").read_bytes())["fields"]
    fields[0]["shape"] = shape
    rewrite(store, fields=fields)
    with pytest.raises(StoreError, match=f"{format_}_store|shard-00000|train-00000"):
        open_store(store).batch(range(11))


def test_an_index_whose_numbers_overflow(tmp_path: Path) -> None:
    store = made(tmp_path, "tar")
    path = own(store, "shard-000001.image.spans.npy")
    table = np.load(path)
    table[1, 0] = (1 << 63) - 1
    with path.open("r+b") as file:
        file.seek(-table.nbytes, 2)
        file.write(table.tobytes())
    with pytest.raises(StoreError, match="shard-000001"):
        open_store(store).batch(range(11))


@pytest.mark.parametrize("notes", [{"cmyk": []}, {"cmyk": None}, ["cmyk"]])
def test_notes_that_are_no_counts(tmp_path: Path, notes: Any) -> None:
    store = made(tmp_path, "memmap")
    shards = json.loads(own(store, "store.json").read_bytes())["shards"]
    rewrite(store, shards=[shard | {"notes": notes} for shard in shards])
    with pytest.raises(StoreError, match=r"store\.json describes no image store"):
        open_store(store)


def test_a_store_without_images(tmp_path: Path) -> None:
    store = made(tmp_path, "memmap")
    rewrite(store, fields=json.loads(own(store, "store.json").read_bytes())["fields"][1:])
    with pytest.raises(StoreError, match=r"store\.json describes no image store"):
        open_store(store)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_json_has_not(tmp_path: Path, number: str) -> None:
    store = made(tmp_path, "memmap")
    path = own(store, "store.json")
    path.write_text(path.read_text().replace('"samples": 11', f'"samples": {number}'))
    with pytest.raises(StoreError, match=rf"store\.json describes no image store .*{number}"):
        open_store(store)


@pytest.mark.parametrize("header", [b"{'descr': (((((", b"{'descr': 'O', ", b"\xff\xfe\0", b"()" * 30])
def test_arrays_of_a_damaged_header(tmp_path: Path, header: bytes) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 3, 4, 4), np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(2, np.int64))
    with (tmp_path / "images.npy").open("r+b") as file:
        file.seek(10)
        file.write(header)
    with pytest.raises(BadInput, match=r"does not hold images\.npy and labels\.npy .*: make it again"):
        ArraySource.open([tmp_path])
