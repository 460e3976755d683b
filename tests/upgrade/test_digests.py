"""A change of meaning cannot hide: the same inputs still give what an earlier version made of them.

Where it is to change, the asset's format or code version has to be raised: that makes it another artifact, and whoever
has the old one is told so.
"""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from imgassets.commit import Manifest, load
from tests.upgrade.conftest import Earlier
from tests.upgrade.content import difference

COMPUTED = re.compile(r"dmd2(_folder)?/")
"""What a network computes depends on the processor and on torch."""
TOLERANCE = 2e-2
"""Of the largest value: a change of meaning is larger, another order of a sum is not. Pixels have 256 values."""
DRAWN = re.compile(r"umap_[xy]$|/layers/|moments\.npz|plot\.png")
"""What amplifies the last bit: layouts, and statistics of a few samples with singular covariance."""
CONSTRAINTS = Path(__file__).parents[2] / ".ci" / "constraints.txt"

Then = dict[str, tuple[Path, Manifest]]


def artifacts(store: Path) -> Then:
    """Folder of the files, and manifest, by name of the artifact."""
    found = {}
    for path in (*store.rglob(".imgassets.json"), *store.rglob(".imgassets/*.json")):
        manifest = load(path)
        folder = path.parent if path.name == ".imgassets.json" else path.parent.parent
        found[f"{manifest.recipe.artifact}/{manifest.recipe.partition}"] = (folder, manifest)
    return found


def other_versions() -> list[str]:
    """Installed libraries of another version than the tested one."""
    tested = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    return [name for name, number in tested.items() if _installed(name) not in {number.split("+")[0], None}]


def _installed(name: str) -> str | None:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return None


@pytest.fixture(scope="module")
def both(earlier: Earlier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Then, Then]:
    """All artifacts of then, and those that today's code makes of the same inputs."""
    folder = tmp_path_factory.mktemp("now")
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text((earlier.folder / "home" / "dagster.yaml").read_text())
    places = {"IMGASSETS_STORE": str(folder / "store"), "DAGSTER_HOME": str(folder / "home")}
    replace(earlier, environ=earlier.environ | places).run("backfill", "*")
    then, now = artifacts(earlier.folder / "store"), artifacts(folder / "store")
    assert now.keys() == then.keys()
    assert len(now) > 50
    raised = [name for name, (_, manifest) in now.items() if _version(manifest) != _version(then[name][1])]
    return {name: then[name] for name in then if name not in raised}, now


def _version(manifest: Manifest) -> tuple[str, str]:
    return manifest.recipe.format, manifest.recipe.code_version


def test_the_bytes_are_those_of_then(both: tuple[Then, Then]) -> None:
    if others := other_versions():
        pytest.skip(f"libraries of other versions than the tested ones are compared by content: {', '.join(others)}")
    then, now = both
    changed = [n for n in then if not COMPUTED.match(n) and then[n][1].files != now[n][1].files]
    assert not changed, f"other bytes of {changed}: raise the format or code version of these assets"


def test_the_content_is_that_of_then(both: tuple[Then, Then]) -> None:
    then, now = both
    changed = {name: found for name in then if (found := _difference(then[name], now[name], COMPUTED.match(name)))}
    assert not changed, f"other content at {changed}: raise the format or code version of these assets"


def _difference(then: tuple[Path, Manifest], now: tuple[Path, Manifest], computed: object) -> str:
    names = [[record.name for record in manifest.files] for _, manifest in (then, now)]
    if names[0] != names[1]:
        return f"files {names[1]}, not {names[0]}"
    files = [(n, (then[0] / n).read_bytes(), (now[0] / n).read_bytes()) for n in names[0]]
    if not computed:
        return next((found for file in files if (found := difference(*file))), "")
    return next((found for file in files if (found := difference(*file, TOLERANCE, DRAWN))), "")
