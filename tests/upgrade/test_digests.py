"""A change of meaning cannot hide: the same inputs still give the bytes that an earlier version made of them.

Where bytes are to change, the asset's format or code version has to be raised: that makes them another artifact, and
whoever has the old one is told so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imgassets.commit import Manifest, load
from tests.upgrade.conftest import Earlier
from tests.upgrade.making import DATASETS, environment

COMPUTED = ("dmd2", "dmd2_folder")
"""What a network computes depends on the processor and on torch."""


def manifests(store: Path) -> dict[str, Manifest]:
    """By name of the artifact."""
    found = [load(path) for path in (*store.rglob(".imgassets.json"), *store.rglob(".imgassets/*.json"))]
    return {f"{manifest.recipe.artifact}/{manifest.recipe.partition}": manifest for manifest in found}


def test_the_bytes_are_those_of_then(earlier: Earlier, tmp_path: Path) -> None:
    now = replace(
        earlier,
        environ=earlier.environ | environment(earlier.folder) | {"IMGASSETS_STORE": str(tmp_path / "store")},
    )
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((earlier.folder / "home" / "dagster.yaml").read_text())
    now.environ["DAGSTER_HOME"] = str(home)
    now.run("backfill", " or ".join(f"group:{name}" for name in DATASETS if name not in COMPUTED))
    then = {
        name: manifest
        for name, manifest in manifests(earlier.folder / "store").items()
        if not name.startswith(tuple(f"{dataset}/" for dataset in COMPUTED))
    }
    made = manifests(tmp_path / "store")
    assert made.keys() == then.keys()
    assert len(made) > 50
    changed = [
        name
        for name, manifest in made.items()
        if manifest.files != then[name].files
        and (manifest.recipe.format, manifest.recipe.code_version)
        == (then[name].recipe.format, then[name].recipe.code_version)
    ]
    assert not changed, f"other bytes of {changed}: raise the format or code version of these assets"
