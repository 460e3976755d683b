"""An index is read by column, each column once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa  # noqa: TID253  (a test of what is written with it)
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.columns import numbers
from imgassets.errors import StoreError
from imgassets.formats.index import TABLE, IndexReader, column_checksums

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


COLUMNS = {
    "text": st.lists(st.none() | st.text(max_size=4), max_size=6),
    "number": st.lists(st.none() | st.integers(-5, 5), max_size=6),
    "fraction": st.lists(st.none() | st.sampled_from([0.0, -1.5, 2.25]), max_size=6),
    "truth": st.lists(st.none() | st.booleans(), max_size=6),
    "list": st.lists(st.none() | st.lists(st.integers(0, 1), max_size=3), max_size=6),
}
TYPES = {
    "text": (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())),
    "number": (pa.int8(), pa.int64(), pa.int32()),
    "fraction": (pa.float32(), pa.float64()),
    "truth": (pa.bool_(),),
    "list": (pa.list_(pa.int8()), pa.list_(pa.int32())),
}


def checksum(column: pa.ChunkedArray | pa.Array) -> str:
    return column_checksums(pa.table({"it": column}))["it"]


@pytest.mark.parametrize("kind", COLUMNS)
@given(data=st.data())
def test_a_columns_checksum_is_of_its_values_alone(kind: str, data: st.DataObject) -> None:
    values, others = data.draw(COLUMNS[kind]), data.draw(COLUMNS[kind])
    cut = data.draw(st.integers(0, len(values)))
    plain = pa.array(values, TYPES[kind][0])
    for other in TYPES[kind]:
        encoded = pa.array(values, other)
        assert checksum(encoded) == checksum(plain)
        assert checksum(pa.chunked_array([encoded[:cut], encoded[cut:]])) == checksum(plain)
        assert checksum(pa.array([*others, *values], other)[len(others) :]) == checksum(plain)
    assert (checksum(pa.array(others, TYPES[kind][0])) == checksum(plain)) == (others == values)


def test_numbers_of_64_bits_without_a_sign_have_a_checksum() -> None:
    assert checksum(pa.array([2**64 - 1], pa.uint64())) != checksum(pa.array([2**64 - 2], pa.uint64()))


def test_a_column_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no columns of date32"):
        checksum(pa.array([1], pa.date32()))
