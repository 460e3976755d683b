"""What pages say is so: links lead somewhere, commands are understood, YAML loads, Python imports; README runs."""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import imgassets.components
from imgassets.cli import main
from imgassets.definitions import defs
from imgassets.operations.selection import names
from tests.docs.snippets import PAGES, ROOT, blocks, commands, read_the_readme

INLINE = re.compile(r"`imgassets ([a-z-]+)([^`]*)`")
ASSETS = set(names(defs()))
BUNDLED = {name.partition("/")[0] for name in ASSETS}
TOPIC = set(PAGES) | set(imgassets.components.__all__) | set(main.commands) | {"TOPIC"}


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def test_the_readme_is_read_to_its_end() -> None:
    assert len(PAGES["README"].read_text(encoding="utf-8").splitlines()) <= 160


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = PAGES[name]
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            file, _, anchor = target.partition("#")
            other = page.parent / file if file else page
            assert other.exists(), target
            assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("dataset", sorted(BUNDLED))
def test_every_bundled_dataset_has_a_page(dataset: str) -> None:
    assert dataset in PAGES
    assert f"](imgassets/defs/{dataset}/README.md)" in PAGES["README"].read_text(encoding="utf-8")


def test_the_readme_links_every_page() -> None:
    text = PAGES["README"].read_text(encoding="utf-8")
    for path in (ROOT / "imgassets" / "docs").glob("*.md"):
        assert f"](imgassets/docs/{path.name})" in text


@pytest.mark.parametrize("name", PAGES)
def test_commands_are_understood(name: str) -> None:
    for words in commands(PAGES[name]):
        command = main.commands[words[1]]
        ctx = command.make_context(words[1], [], resilient_parsing=True)
        command.make_parser(ctx).parse_args(words[2:])
        for word in words[2:]:
            found = re.fullmatch(r"\+?([a-z0-9_]+)/([a-z0-9_]+)(/.*)?", word)
            if found and found[1] in BUNDLED and words[1] not in ("inspect", "sample-data", "add"):
                assert f"{found[1]}/{found[2]}" in ASSETS, words


@pytest.mark.parametrize("name", PAGES)
def test_commands_within_sentences_exist(name: str) -> None:
    for command, rest in INLINE.findall(PAGES[name].read_text(encoding="utf-8")):
        known = {option for one in main.commands[command].params for option in one.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (command, rest)
        if command == "help" and (topic := rest.strip()) and "|" not in topic:
            assert topic in TOPIC


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # of Dagster's own
@pytest.mark.parametrize("name", PAGES)
def test_yaml_is_what_components_take(name: str) -> None:
    for block in blocks(PAGES[name], "yaml"):
        document: dict[str, Any] = yaml.safe_load(block)
        kind = str(document.get("type", "")).rpartition(".")[2]
        if kind in imgassets.components.__all__:
            getattr(imgassets.components, kind).resolve_from_yaml(yaml.safe_dump(document["attributes"]))


@pytest.mark.parametrize("name", PAGES)
def test_python_parses_and_imports_of_ours_are_there(name: str) -> None:
    for block in blocks(PAGES[name], "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("imgassets"):
                exec(ast.unparse(node), {})  # noqa: S102 (our own page)


@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(tmp_path: Path) -> None:
    shim = tmp_path / "bin" / "imgassets"
    shim.parent.mkdir()
    shim.write_text(f"#!{sys.executable}\nfrom imgassets.cli import main\nmain(prog_name='imgassets')\n")
    shim.chmod(0o755)
    names = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS"))}
    path = os.pathsep.join([str(ROOT), *filter(None, [names.get("PYTHONPATH")])])
    environment = names | {"PATH": f"{shim.parent}:{names['PATH']}", "PYTHONPATH": path}
    read_the_readme(tmp_path, environment, sys.executable)
