"""What records weigh, told from an index, is what they take when they are written."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa  # noqa: TID253  (an index is an Arrow table)
import pytest

from imgassets.formats import imagenet_records


@dataclass(frozen=True)
class Image:
    name: str
    synset: str
    label: int
    width: int
    height: int
    encoded: bytes
    ordinary: bool = True


def table(images: list[Image], problems: list[str | None]) -> pa.Table:
    """The columns of an index; what has a problem has no width and height."""
    rows = [
        {
            "name": image.name,
            "label": image.label,
            "size": len(image.encoded),
            "width": None if problem else image.width,
            "height": None if problem else image.height,
            "problem": problem,
        }
        for image, problem in zip(images, problems, strict=True)
    ]
    types = {"name": pa.string(), "label": pa.int16(), "size": pa.int64(), "width": pa.int32(), "height": pa.int32()}
    found = pa.Table.from_pylist(rows, schema=pa.schema({**types, "problem": pa.string()}))
    synsets = pa.array([image.synset for image in images], pa.string()).dictionary_encode()
    return found.append_column("synset", synsets)


def test_records_weigh_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = [
        Image(
            f"é{'x' * (n * 7)}.JPEG", f"n{n:08d}", 1 + n * 30, 1 + n * 200, 1 + n * 9, bytes(2 ** rng.integers(0, 18))
        )
        for n in range(33)
    ]
    problems = [f"cut after {n} bytes" if n % 5 == 3 else None for n in range(33)]
    expected = []
    for image, problem in zip(images, problems, strict=True):
        file = io.BytesIO()
        if problem is None:
            assert imagenet_records.write(file, [image]).records == 1
        expected.append(len(file.getvalue()))
    monkeypatch.setattr(imagenet_records, "BLOCK_ROWS", 4)
    assert imagenet_records.record_bytes(table(images, problems)).tolist() == expected
    assert imagenet_records.record_bytes(table([], [])).tolist() == []
