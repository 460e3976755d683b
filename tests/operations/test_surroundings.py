"""What happens around the vault: clocks that step, a database that is damaged, inputs and stores that go or change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from imgassets import open_store
from imgassets.errors import ImgassetsError
from imgassets.stores.registry import BUNDLED
from imgassets.testing import making
from tests.operations.conftest import BATCHES, Home


@pytest.mark.parametrize("clock", [0, 2**31 + 5, 2**32 - 1], ids=["1970", "2038", "2106"])
def test_times_decide_nothing(home: Home, clock: int) -> None:
    assert home.built("+imagenet64/arrays")
    for folder in (home.raw, home.store):
        for path in folder.rglob("*"):
            os.utime(path, (clock, clock))
    assert home.built("+imagenet64/arrays") == set()


def test_a_database_that_is_damaged_is_told_and_costs_no_rebuild(home: Home) -> None:
    home.built("+imagenet64/arrays")
    before = home.content()
    databases = [path for path in home.path.rglob("*.db") if home.store not in path.parents]
    assert databases
    for path in databases:
        path.write_bytes(b"no database" * 1000)
    told = home.run("status", code=1).output
    assert "Traceback" not in told
    assert "database" in told
    for path in databases:
        path.unlink()
    assert home.built("+imagenet64/arrays") == set()
    assert home.content() == before


def test_an_input_that_changes_after_it_was_indexed_is_never_mixed_in(home: Home) -> None:
    home.built("imagenet64/npz_index")
    home.write(BATCHES[0], seed=77)
    told = home.run("backfill", "imagenet64/arrays", code=1).output
    assert BATCHES[0] in told
    assert not (home.store / "arrays" / BATCHES[0]).exists()
    assert (home.store / "arrays" / BATCHES[1]).exists()
    assert f"imagenet64/arrays/{BATCHES[0]}" in home.built("+imagenet64/arrays")


@pytest.mark.parametrize("codec", list(BUNDLED))
def test_a_store_that_is_deleted_within_an_epoch(tmp_path: Path, codec: str) -> None:
    source = making.arrays(64)
    folder = making.make(tmp_path, source, codec, images_per_file=8)
    whole = [batch[0].numpy().copy() for batch in open_store(folder).loader(4, shuffle=True, seed=1)]
    loader = iter(open_store(folder).loader(4, shuffle=True, seed=1))
    seen = [next(loader)[0].numpy().copy() for _ in range(3)]
    shutil.rmtree(folder)
    try:
        seen.extend(batch[0].numpy().copy() for batch in loader)
    except ImgassetsError as error:
        assert str(folder) in str(error)  # noqa: PT017  (either it goes on, or it says so)
    else:
        assert len(seen) == len(whole)
    for mine, wanted in zip(seen, whole, strict=False):
        np.testing.assert_array_equal(mine, wanted)
