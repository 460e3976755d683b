"""Pieces of files behind a URL: the right bytes, in few requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import given
from hypothesis import strategies as st

from imgassets.errors import StoreError
from imgassets.stores.bytespace import GAP, Remote, RemoteFiles, starts_of

FILES = [
    np.random.default_rng(k).integers(0, 256, size, np.uint8).tobytes() for k, size in enumerate((300_000, 1, 9000))
]
SIZES = [len(file) for file in FILES]
STARTS = starts_of(SIZES).tolist()


@pytest.fixture(scope="module")
def url() -> str:
    fs = fsspec.filesystem("memory")
    for k, data in enumerate(FILES):
        fs.pipe(f"/remote/{k}", data)
    return "memory://remote"


@st.composite
def pieces(draw: st.DrawFn) -> tuple[int, int, int]:
    """File, place in it, size."""
    file = draw(st.integers(0, len(FILES) - 1))
    begin = draw(st.integers(0, SIZES[file]))
    return file, begin, draw(st.integers(0, SIZES[file] - begin))


@given(st.lists(pieces(), max_size=30))
def test_any_pieces_in_any_order(url: str, wanted: list[tuple[int, int, int]]) -> None:
    positions = np.array([STARTS[file] + begin for file, begin, _ in wanted], np.int64)
    found = Remote(RemoteFiles(url), ["0", "1", "2"], SIZES).pieces(
        positions, np.array([n for *_, n in wanted], np.int64)
    )
    assert [bytes(piece) for piece in found] == [FILES[file][begin : begin + n] for file, begin, n in wanted]


def test_neighbours_are_one_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    files = RemoteFiles(url)
    ranges = RemoteFiles.ranges
    monkeypatch.setattr(
        RemoteFiles, "ranges", lambda self, *what: asked.extend(zip(*what, strict=True)) or ranges(self, *what)
    )
    positions = np.array([200_000, 0, 100 + GAP, 300, 100_000 + GAP, STARTS[2]])
    out = torch.empty((6, 100), dtype=torch.uint8)
    Remote(files, ["0", "1", "2"], SIZES).gather(positions, out)
    assert out[3].numpy().tobytes() == FILES[0][300:400]
    assert asked == [("0", 0, 200 + GAP), ("0", 100_000 + GAP, 200_100), ("2", 0, 100)]


def test_a_file_that_is_shorter_than_the_store_says(url: str, tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"short")
    with pytest.raises(StoreError, match="got 5 bytes instead of 9"):
        Remote(RemoteFiles(f"file://{tmp_path}"), ["0"], [9]).piece(0, 9)
