"""The copy past the caches against numpy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: TID253  (tests load what they need)
from hypothesis import given
from hypothesis import strategies as st

from imgassets.stores import bytespace
from imgassets.stores.bytespace import Local
from imgassets.stores.streaming import LINE, copy_rows


@given(data=st.data(), lines=st.integers(1, 70), rows=st.integers(1, 40))
def test_rows_from_any_position_arrive_whole_and_nothing_else_changes(data, lines, rows) -> None:
    nbytes = lines * LINE
    source = np.random.default_rng(lines).integers(0, 256, 20_000, np.uint8)
    positions = np.array(data.draw(st.lists(st.integers(0, len(source) - nbytes), min_size=rows, max_size=rows)))
    around = torch.full((rows + 2, nbytes), 7, dtype=torch.uint8)  # torch's memory begins at a line
    copy_rows(source.ctypes.data, positions.ctypes.data, rows, nbytes, around[1:].data_ptr())
    assert (around[[0, -1]] == 7).all()
    np.testing.assert_array_equal(around[1:-1], source[positions[:, None] + np.arange(nbytes)])


@pytest.mark.parametrize("nbytes", [12_288, 3 * 40 * 40, 3 * 37 * 41])
@pytest.mark.parametrize("skipped", [0, 1, 64])
@pytest.mark.parametrize("threads", [1, 2])
def test_large_gathers_of_any_width_and_place(tmp_path: Path, nbytes: int, skipped: int, threads: int) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "a").write_bytes(data)
    space = Local(tmp_path, ["a"], [len(data)])
    positions = np.random.default_rng(0).integers(0, len(data) - nbytes, 2 * bytespace.LEAST // nbytes)
    memory = torch.zeros(skipped + len(positions) * nbytes, dtype=torch.uint8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        space.gather(positions, memory[skipped:].view(-1, nbytes))
    finally:
        torch.set_num_threads(before)
    found = memory[skipped:].numpy().tobytes()
    assert found == b"".join(data[p : p + nbytes] for p in positions)
    assert not memory[:skipped].any()
