"""HDF5 shards as h5py reads them: structure made in memory, data beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py  # noqa: TID253
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.columns import Columns, Field, array_field
from imgassets.stores.codecs import hdf5
from tests.formats.sinks import published, stage

FIELDS = [array_field("image", "u1", (7, 3)), Field("file", "file"), array_field("label", "<i8"), Field("text", "text")]


def block(rows: int, size: int, seed: int) -> Columns:
    """Rows of every field; those of variable size have up to `size` bytes."""
    random = np.random.default_rng(seed)

    def ragged() -> list[bytes]:
        return [random.bytes(n) for n in random.integers(0, size + 1, rows)]

    fixed = {f.name: random.integers(0, 200, (rows, *f.shape)).astype(f.dtype) for f in FIELDS if not f.ragged}
    return {**fixed, "file": ragged(), "text": ragged()}


def write(folder: Path, fields: list[Field], blocks: list[Columns]) -> Path:
    made = stage(folder)
    hdf5.write(made, "shard", fields, sum(len(b["label"]) for b in blocks), blocks, {})
    return published(made) / "shard.h5"


@given(
    st.permutations(FIELDS),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 3, 200, 9000]), st.integers(0, 99)), min_size=1),
)
def test_h5py_reads_every_row(
    tmp_path_factory: pytest.TempPathFactory, order: list[Field], count: int, shapes: list[tuple[int, int, int]]
) -> None:
    fields, blocks = order[:count], [block(*shape) for shape in shapes]
    with h5py.File(write(tmp_path_factory.mktemp("shard"), fields, blocks)) as file:
        for field in fields:
            if field.ragged:
                rows = [row for b in blocks for row in b[field.name]]
                group: Any = file[field.name]
                assert group["data"][:].tobytes() == b"".join(rows)
                assert np.diff(group["offsets"][:]).tolist() == list(map(len, rows))
            else:
                wanted = np.concatenate([np.asarray(b[field.name]) for b in blocks])
                np.testing.assert_array_equal(file[field.name][:], wanted)


def test_systems_without_files_in_memory_make_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block(20, 5000, seed) for seed in range(3)]
    first = write(tmp_path / "first", FIELDS, blocks).read_bytes()
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert write(tmp_path / "second", FIELDS, blocks).read_bytes() == first
