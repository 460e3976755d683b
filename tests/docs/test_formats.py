"""Every format that the code names has a page that describes it, and every page is in the list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import imgassets
from imgassets.commit import manifest
from imgassets.stores import storefile
from imgassets.stores.codecs import guide
from imgassets.stores.registry import BUNDLED, DEFAULT, codec_of

ROOT = Path(next(iter(imgassets.__path__)))
FOLDER = ROOT / "docs" / "formats"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md") if path.stem != "README"}
DESCRIBED = {
    name: re.findall(r"`([^`]+)`", versions)
    for name, text in TEXTS.items()
    for versions in re.findall(r"^\*Versions:\* (.*?)\. ", text, re.MULTILINE)
}
VERSIONED = re.compile(r"[a-z][a-z_-]*\d?/\d+")


def named() -> set[str]:
    """Names and versions of formats: texts of the package's code, wherever they stand, and codecs."""
    return {
        node.value
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and VERSIONED.fullmatch(node.value)
    } | {version for name in BUNDLED for version in codec_of(name).formats}


def test_every_format_has_its_page() -> None:
    described = [version for versions in DESCRIBED.values() for version in versions]
    assert len(described) == len(set(described))
    assert {"memmap/1", "index/1", "ct_shard/1"} <= named()
    assert named() | {guide.NAME} <= set(described)


def test_every_version_up_to_the_newest_is_described() -> None:
    described = {version for versions in DESCRIBED.values() for version in versions}
    for name, newest in (version.split("/") for version in named()):
        assert {f"{name}/{k}" for k in range(1, int(newest) + 1)} <= described


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_a_page_is_in_the_list(page: str) -> None:
    assert f"]({page}.md)" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README", *sorted(TEXTS)])
def test_links_lead_to_pages(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (FOLDER / f"{page}.md").read_text(encoding="utf-8")):
        assert (FOLDER / target).is_file()


def test_versions_of_manifests_and_store_files() -> None:
    assert f"| `imgassets` | {manifest.VERSION}, the version" in TEXTS["manifest"]
    assert f"| `imgassets_store` | {storefile.VERSION}, the version" in TEXTS["store"]


def test_the_pages_have_every_codec_in_its_own_words() -> None:
    pages = (ROOT.parent / "README.md", ROOT / "docs" / "stores.md", ROOT / "defs" / "ilsvrc2012" / "README.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for name, codec in BUNDLED.items():
        assert f"\n| {name} | {codec.description} |" in text
    assert f"# {' '.join(BUNDLED)}, and what other packages add\n" in text
    assert f"`imagenet64/{{{','.join(DEFAULT)}}}_store`" in text
    assert f"`ilsvrc2012/{{{','.join(DEFAULT)}}}_store`" in text
