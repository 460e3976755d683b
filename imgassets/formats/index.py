"""An index: one Parquet table, one row per sample, and the report of what was looked at, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgassets import documents
from imgassets.commit import Stage, Written
from imgassets.errors import StoreError
from imgassets.formats.one_way import OneWay

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "index.parquet"
REPORT = "report.json"


@dataclass(frozen=True)
class Index:
    """What an index is written from."""

    table: pa.Table
    report: Mapping[str, Any]
    """JSON values; for people and for checks."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Numbers for the manifest beside the row count."""
    exceptions: Sequence[Mapping[str, Any]] = ()


def write_index(index: Index, stage: Stage) -> Written:
    """Write `index.parquet` (zstd, dictionary-encoded text, page checksums) and `report.json`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with stage.create(TABLE) as sink, pa.PythonFile(OneWay(sink), mode="w") as file:
        pq.write_table(index.table, file, compression="zstd", write_page_checksum=True)
    with stage.create(REPORT) as sink:
        sink.write(
            json.dumps(index.report, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        )
    facts = {"rows": index.table.num_rows, "columns": column_checksums(index.table)}
    return Written({**facts, **index.facts}, index.exceptions)


@dataclass(frozen=True)
class IndexReader:
    """Reads an index folder; StoreError where a file of it is damaged."""

    path: Path

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows, all columns or some, each read once; checksums of the pages that are read are verified."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with _sound(self.path / TABLE) as path:
            # not read_table, which imports pandas and reads partitions out of the folders' names
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                names = file.schema_arrow.names if columns is None else columns
                found = file.read([name for name in names if name not in self._read])
            self._read.update(zip(found.column_names, zip(found.schema, found.columns, strict=True), strict=True))
            fields, arrays = zip(*(self._read[name] for name in names), strict=True)
            return pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))

    @cached_property
    def _read(self) -> dict[str, tuple[pa.Field[Any], pa.ChunkedArray[Any]]]:
        """The columns that have been read, by name."""
        return {}

    def column_checksums(self, columns: list[str]) -> dict[str, str]:
        """As the function of that name, of some columns."""
        return column_checksums(self.table(columns))

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        import pyarrow.parquet as pq

        with _sound(self.path / TABLE) as path:
            return pq.read_schema(path)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was found while the index was made."""
        with _sound(self.path / REPORT) as path:
            report: dict[str, Any] = documents.parse(path.read_text(encoding="utf-8"))
        return report


def column_checksums(table: pa.Table) -> dict[str, str]:
    """Hexadecimal XXH3-128 of each column's values, however they are encoded, cut into chunks, or wide.

    Raises:
        TypeError: a column is of no kind that indexes have: numbers, truth values, text, or lists of these.
    """
    return {name: _values_checksum(column) for name, column in zip(table.column_names, table.columns, strict=True)}


def _values_checksum(column: pa.ChunkedArray[Any]) -> str:
    digest = xxhash.xxh3_128()
    for part in _canonical(column.combine_chunks()):
        digest.update(np.int64(part.nbytes).tobytes())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _canonical(array: Any) -> Iterator[NDArray[Any]]:
    """What is there, and the values: as int64, float64, or the sizes and the UTF-8 bytes of texts; 0 where is none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if isinstance(array, pa.ChunkedArray):  # of no chunk at all
        array = pa.array([], array.type)
    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    yield np.packbits(array.is_valid().to_numpy(zero_copy_only=False))
    if types.is_list(array.type):
        yield pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8")
        yield from _canonical(array.flatten())
    elif types.is_string(array.type) or types.is_large_string(array.type):
        text = array.cast(pa.large_string()).fill_null("")
        _, offsets, data = text.buffers()
        ends = np.frombuffer(offsets, "<i8")[text.offset : text.offset + len(text) + 1]
        yield np.diff(ends)
        yield np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    elif types.is_boolean(array.type):
        yield from _canonical(array.cast(pa.uint8()))
    elif types.is_integer(array.type):
        yield array.fill_null(0).to_numpy(zero_copy_only=False).astype("<i8", copy=False)  # 64 bits without a sign, too
    elif types.is_floating(array.type):
        yield array.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False).astype("<f8", copy=False)
    else:
        raise TypeError(f"an index has no columns of {array.type}")


@contextmanager
def _sound(path: Path) -> Iterator[Path]:
    try:
        yield path
    except (OSError, ValueError, KeyError) as error:  # Arrow's errors are of these kinds
        raise StoreError(f"{path} cannot be read ({error}): materialize it again.") from error
