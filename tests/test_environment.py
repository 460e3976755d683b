"""Where things lie: the same place from every folder, and never one that a URL or `~` happens to spell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgassets import environment
from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.operations.selection import definitions
from imgassets.projects import Project
from tests.cli import CHECKOUT


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "user", "cwd"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("IMGASSETS_RAW", raising=False)
    monkeypatch.delenv("IMGASSETS_STORE", raising=False)
    monkeypatch.chdir(tmp_path / "cwd")


def places(storage: Storage) -> list[Path]:
    return [storage.raw_root, storage.vault.root, storage.vault.state]


def test_by_default_all_lie_in_the_home(tmp_path: Path) -> None:
    assert places(Storage()) == [tmp_path / "home" / name for name in ("raw", "store", "imgassets")]


@pytest.mark.parametrize("name", ["raw", "store", "state"])
@pytest.mark.parametrize("url", ["s3://bucket/x", "hf://datasets/a/b", "file:///data", "gs://b", "~/x://y"])
def test_a_url_is_refused_as_it_was_given(name: str, url: str) -> None:
    storage = Storage(**{name: url})
    with pytest.raises(BadInput) as error:
        places(storage)
    assert str(error.value).startswith(f"{url} is a URL, but ")
    assert "mount" in str(error.value)


COMMANDS = ["plan", "status", "backfill mini/memmap_store", "gc"]


@pytest.mark.parametrize(
    ("variable", "command"),
    [(variable, command) for variable in ("IMGASSETS_RAW", "IMGASSETS_STORE") for command in COMMANDS]
    + [("IMGASSETS_RAW", "sample-data")],
)
def test_every_command_refuses_a_url_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, command: str
) -> None:
    from click.testing import CliRunner

    from imgassets.cli import main

    monkeypatch.setenv(variable, "s3://bucket/folder")
    definitions.cache_clear()
    done = CliRunner().invoke(main, command.split())
    definitions.cache_clear()
    assert done.exit_code == 1
    assert done.output.startswith("Error: s3://bucket/folder is a URL, but ")
    assert not list((tmp_path / "cwd").iterdir())
    assert not (tmp_path / "home" / "store").exists()


def test_the_tilde_is_the_user_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGASSETS_STORE", "~/st")
    monkeypatch.setenv("IMGASSETS_RAW", "~")
    assert places(Storage())[:2] == [tmp_path / "user", tmp_path / "user" / "st"]
    with pytest.raises(BadInput, match=r"^~nobody-of-that-name/x names the vault .* no such home"):
        places(Storage(store="~nobody-of-that-name/x"))


def test_a_relative_path_is_one_place_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGASSETS_STORE", "data/st")
    found = []
    for folder in (tmp_path, tmp_path / "cwd"):
        os.chdir(folder)
        found.append(Storage().vault.root)
    assert found == [CHECKOUT / "data" / "st"] * 2
    installed = Project(tmp_path / "site-packages", "imgassets")
    assert environment.folder("data/st", "the vault", installed) == tmp_path / "home" / "data" / "st"


def test_a_mirror_of_ct_rate_may_lie_in_the_user_s_home(tmp_path: Path) -> None:
    from imgassets.components.ct.volumes import CtVolumes
    from imgassets.sources.hub import Folder

    (tmp_path / "user" / "mirror").mkdir()
    found = CtVolumes(name="ct", repository="~/mirror").open_repository(Storage(), "train")
    assert isinstance(found, Folder)
    assert found.root == tmp_path / "user" / "mirror"
