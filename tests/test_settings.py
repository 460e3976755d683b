"""What is told of settings, components and pages without loading Dagster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from imgassets.cli import main
from imgassets.declared import datasets
from imgassets.projects import BUNDLED, Project
from imgassets.settings import REFERENCE, find, settings
from tests.cli import CHECKOUT, Home
from tests.definitions.reference import text


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, prog_name="imgassets")
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with one dataset."""
    run("init", str(tmp_path / "photos"))
    folder = tmp_path / "photos" / "photos" / "defs" / "cats"
    folder.mkdir()
    (folder / "defs.yaml").write_text(
        "type: imgassets.components.ImageFolder\nattributes:\n  name: cats\n"
        "  root: \"{{ env('CATS', 'cats') }}\"\n  settings: {on_error: skip}\n"
    )
    found = Project.of(tmp_path / "photos")
    assert found
    return found


def test_the_reference_says_what_the_fields_say() -> None:
    """Written by `python -m tests.definitions.reference`."""
    assert REFERENCE.read_text(encoding="utf-8") == text()


def test_every_attribute_has_a_meaning() -> None:
    assert not [f"{one.owner}.{one.name}" for one in settings(BUNDLED) if not one.about]


def test_the_value_in_force_and_where_it_comes_from(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project.root / "photos" / "defs" / "cats" / "defs.yaml"
    (skip,) = (one for one in find("settings.on_error", project) if one.in_force)
    assert [(one.value, one.source) for one in skip.in_force] == [("skip", f"{file}:5")]
    (size,) = (one for one in find("cats.size", project) if one.in_force)
    assert [(one.value, one.source) for one in size.in_force] == [(None, "default")]
    monkeypatch.setenv("CATS", "folders/tomcats")
    (root,) = find("cats.root", project)
    assert root.in_force[0].value == "folders/tomcats"


def test_variables_tell_who_set_them_and_never_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGASSETS_RAW", "/data/raw")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    out = run("settings")
    assert "/data/raw" in out
    assert "hf_secret" not in out + run("settings", "HF_TOKEN") + run("settings", "--json")


@pytest.mark.parametrize(
    "text", ["a: &a [*a]\ntype: x\n", "type: x\nattributes: {a: !!python/name:os.system x}\n", "[", ""]
)
def test_a_file_that_no_dataset_can_be_is_passed_over(project: Project, text: str) -> None:
    file = project.root / "photos" / "defs" / "cats" / "defs.yaml"
    file.write_text(text)
    assert all(one.file == file for one in datasets(project))


def test_anchors_without_end_stay_small(project: Project) -> None:
    bomb = "\n".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(30))
    file = project.root / "photos" / "defs" / "cats" / "defs.yaml"
    file.write_text(f"type: imgassets.components.ImageFolder\nattributes:\n{bomb}\n")
    (found,) = datasets(project)
    assert len(repr(found)) < 5000


@pytest.mark.parametrize(
    "arguments", [["settings"], ["settings", "seed"], ["help"], ["help", "ImageFolder"], ["--help"]]
)
def test_nothing_of_it_loads_dagster_or_numpy(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom imgassets.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "assert not {'dagster', 'numpy', 'rich'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_of_a_component_a_command_and_a_page() -> None:
    assert "on_error: one of fail, skip" in run("help", "imgassets.components.ImageFolder")
    assert "Usage: imgassets plan" in run("help", "plan")
    assert "# Reliability" in run("help", "reliability")


def test_the_first_sentence_of_every_command_is_whole() -> None:
    shown = " ".join(run("--help").split())
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["settings", "csv_siz_gb"], "csv_size_gb"),
        (["help", "ImagFolder"], "ImageFolder"),
        (["help", "relaibility"], "reliability"),
    ],
)
def test_typos(arguments: list[str], meant: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert done.stderr.strip().endswith(f"Did you mean {meant}?")


def test_what_stands_in_yaml_alone_is_named_with_its_file(tmp_path: Path) -> None:
    done = Home(tmp_path)("backfill", "mini/tar_store", "--set", "on_error=skip")
    assert done.code == 2
    assert "`settings.on_error` of" in done.err
    assert "mini/defs.yaml" in done.err


@pytest.mark.parametrize(
    ("yaml", "meant"),
    [
        ("type: imgassets.components.ImageFoder\nattributes: {name: cats}\n", "ImageFolder"),
        ("type: imgassets.components.ImageFolder\nattributes: {name: cats, clases: [a]}\n", "classes"),
        (
            "type: imgassets.components.ImageFolder\nattributes: {name: cats, settings: {on_eror: skip}}\n",
            "settings.on_error",
        ),
    ],
)
def test_a_typo_in_a_dataset_is_told(project: Project, yaml: str, meant: str) -> None:
    (project.root / "photos" / "defs" / "cats" / "defs.yaml").write_text(yaml)
    done = Home(project.home).shell("status", cwd=project.root)
    assert done.code == 1
    assert f"Did you mean {meant}?" in done.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pl"], "plan"),
        (["plan", "+imagenet64/ar"], "+imagenet64/arrays"),
        (["plan", "group:ilsvrc"], "group:ilsvrc2012"),
        (["backfill", "imagenet64/arrays", "--partitions", "val"], "val_data"),
        (
            ["backfill", "imagenet64/arrays", "--partitions", "train_data_batch_2..train_data_batch_7"],
            "train_data_batch_2..train_data_batch_7",
        ),
        (["backfill", "imagenet64/csv_sample", "--set", "csv"], "csv_size_gb="),
        (["trace", "imagenet64/csv_sample/t"], "imagenet64/csv_sample/train"),
        (["settings", "IMGASSETS_S"], "IMGASSETS_STORE"),
        (["help", "Npz"], "NpzImages"),
        (["init", "x", "--with", "ct"], "ct_rate"),
    ],
)
def test_completion(words: list[str], offered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("COMP_WORDS", " ".join(["imgassets", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    done = CliRunner().invoke(main, [], prog_name="imgassets", env={"_IMGASSETS_COMPLETE": "bash_complete"})
    assert f"plain,{offered}" in done.stdout.splitlines()


def test_secrets_are_neither_shown_nor_remembered(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgassets.cli import completing

    (project.root / "photos" / "defs" / "cats" / "defs.yaml").write_text(
        "type: imgassets.components.ImageFolder\nattributes: {name: cats, root: \"{{ env('CATS_API_KEY') }}\"}\n"
    )
    monkeypatch.setenv("CATS_API_KEY", "hush")
    monkeypatch.setenv("IMGASSETS_PG_URL", "postgresql://me:hush@host")
    monkeypatch.setenv("DAGSTER_HOME", str(project.home))
    monkeypatch.setenv("IMGASSETS_PROJECT", str(project.root))
    assert "hush" not in run("settings", "--json")
    monkeypatch.setattr(completing, "_load", lambda: {"assets": {}, "groups": [], "settings": []})
    completing.known()
    assert "hush" not in (project.home / completing.MEMORY).read_text()


def test_names_are_remembered_until_a_file_changes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgassets.cli import completing

    monkeypatch.setenv("DAGSTER_HOME", str(project.home))
    monkeypatch.setenv("IMGASSETS_PROJECT", str(project.root))
    calls = []
    monkeypatch.setattr(completing, "_load", lambda: calls.append(1) or {"assets": {}, "groups": [], "settings": []})
    completing.known()
    completing.known()
    assert len(calls) == 1
    (project.root / "photos" / "defs" / "cats" / "defs.yaml").write_text("type: x\n")
    completing.known()
    assert len(calls) == 2
    assert json.loads((project.home / completing.MEMORY).read_text())["assets"] == {}


def test_bash_itself_completes(tmp_path: Path) -> None:
    """A group is one word, though it has a colon."""
    shim = tmp_path / "imgassets"
    shim.write_text(f"#!{sys.executable}\nfrom imgassets.cli import main\nmain(prog_name='imgassets')\n")
    shim.chmod(0o755)
    script = (
        'eval "$(imgassets completion bash)"; [[ $COMP_WORDBREAKS == *:* ]] && exit 3; '
        "COMP_WORDS=(imgassets plan group:ilsv); COMP_CWORD=2; _imgassets_completion imgassets; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DAGSTER_HOME": str(tmp_path)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "group:ilsvrc2012", done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_shells(shell: str) -> None:
    assert f"_IMGASSETS_COMPLETE={shell}_complete" in run("completion", shell)
