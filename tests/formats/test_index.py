"""An index is read by column, each column once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa  # noqa: TID253  (a test of what is written with it)
import pytest

from imgassets.columns import numbers
from imgassets.errors import StoreError
from imgassets.formats.index import TABLE, IndexReader

TABLE_OF_TWO = pa.table(
    {"name": ["a", "b"], "size": pa.array([3, 4], pa.int64())},
    schema=pa.schema(
        [pa.field("name", pa.string(), False, {"description": "file name"}), pa.field("size", pa.int64())]
    ),
)


@pytest.fixture
def reader(tmp_path: Path) -> IndexReader:
    import pyarrow.parquet as pq

    # a folder whose name would be taken for a column of a partitioned dataset
    folder = tmp_path / "size=7"
    folder.mkdir()
    pq.write_table(TABLE_OF_TWO, folder / TABLE, row_group_size=1)
    return IndexReader(folder)


def test_columns_come_as_they_are_asked_for(reader: IndexReader) -> None:
    assert reader.table().equals(TABLE_OF_TWO, check_metadata=True)
    assert reader.table(["size", "name"]).equals(TABLE_OF_TWO.select(["size", "name"]), check_metadata=True)
    assert numbers(reader.table(["size"])["size"]).tolist() == [3, 4]


def test_a_column_is_read_once(reader: IndexReader) -> None:
    first = reader.table(["size"])
    damaged = bytearray((reader.path / TABLE).read_bytes())
    damaged[4:40] = bytes(36)
    (reader.path / TABLE).write_bytes(damaged)
    assert reader.table(["size"]).equals(first)
    with pytest.raises(StoreError, match="materialize it again"):
        reader.table(["name"])


def test_there_is_no_such_column(reader: IndexReader) -> None:
    with pytest.raises(StoreError, match="nope"):
        reader.table(["nope"])


def test_an_index_is_read_without_pandas(reader: IndexReader) -> None:
    script = (
        "import sys, pathlib; from imgassets.formats.index import IndexReader; from imgassets.columns import numbers\n"
        f"numbers(IndexReader(pathlib.Path({str(reader.path)!r})).table(['size'])['size'])\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_numbers_of_no_rows() -> None:
    column = pa.chunked_array([], pa.int64())
    assert np.array_equal(numbers(column), np.empty(0, np.int64))
