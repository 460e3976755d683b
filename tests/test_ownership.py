"""Who makes datasets here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imgassets
from imgassets.commit import Owner
from imgassets.ownership import BUNDLED, home_id, owner_of
from imgassets.projects import BUNDLED as DEMO
from imgassets.projects import Project


def test_the_datasets_that_ship_are_everybody_s(tmp_path: Path) -> None:
    shipped = {path.parent.name for path in Path(next(iter(imgassets.__path__))).glob("defs/*/defs.yaml")}
    assert shipped == BUNDLED
    assert {owner_of(DEMO, tmp_path, dataset) for dataset in BUNDLED} == {Owner("imgassets")}
    assert not list(tmp_path.iterdir())


def test_a_home_has_one_id_whoever_asks_first(tmp_path: Path) -> None:
    state = tmp_path / "home" / "imgassets"
    with ThreadPoolExecutor(8) as pool:
        ids = {owner.id for owner in pool.map(lambda _: owner_of(DEMO, state, "cats"), range(32))}
    assert ids == {home_id(state)}
    assert ids != {home_id(tmp_path / "another")}
    assert [path.name for path in state.iterdir()] == ["id"]


def test_a_project_is_one_owner_in_every_home(tmp_path: Path) -> None:
    """Also of what its home made before there was a project; of bundled datasets it is another one than the demo."""
    project = Project(tmp_path, "photos", "0f0e")
    assert owner_of(project, tmp_path / "a", "cats") == owner_of(project, tmp_path / "b", "mini")
    assert owner_of(project, tmp_path / "a", "mini") == Owner("0f0e", "photos")
    former = owner_of(DEMO, tmp_path / "a", "cats").id
    assert owner_of(project, tmp_path / "a", "cats") == Owner("0f0e", "photos", former)
    assert owner_of(project, tmp_path / "a", "cats").ids == {"0f0e", former}
