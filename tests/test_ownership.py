"""Who makes datasets here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imgassets
from imgassets.ownership import BUNDLED, owner_of, project_id


def test_the_datasets_that_ship_are_everybody_s(tmp_path: Path) -> None:
    shipped = {path.parent.name for path in Path(next(iter(imgassets.__path__))).glob("defs/*/defs.yaml")}
    assert shipped == BUNDLED
    assert {owner_of(tmp_path, dataset) for dataset in BUNDLED} == {"imgassets"}
    assert not list(tmp_path.iterdir())


def test_a_home_has_one_id_whoever_asks_first(tmp_path: Path) -> None:
    state = tmp_path / "home" / "imgassets"
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: owner_of(state, "cats"), range(32)))
    assert ids == {project_id(state)}
    assert ids != {project_id(tmp_path / "another")}
    assert [path.name for path in state.iterdir()] == ["id"]
