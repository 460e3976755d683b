"""An index: one Parquet table, one row per sample, and the report of what was looked at, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    return Written({"rows": index.table.num_rows, **index.facts}, index.exceptions)


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
            report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return report


@contextmanager
def _sound(path: Path) -> Iterator[Path]:
    try:
        yield path
    except (OSError, ValueError, KeyError) as error:  # Arrow's errors are of these kinds
        raise StoreError(f"{path} cannot be read ({error}): materialize it again.") from error
