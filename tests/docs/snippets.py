"""What stands in pages between fences, and their links."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from imgassets.pages import pages
from tests.pictures import jpeg

ROOT = Path(__file__).parents[2]
PAGES = {"README": ROOT / "README.md", **pages()}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
ENDS = {"&&", "||", "|", ";", ">", "&"}


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a language, without their indentation."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, name, text in found if name == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each `imgassets` command in blocks of bash."""
    for block in blocks(page, "bash"):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            words: list[str] = []
            for word in [*_words(line), ";"]:
                if word in ENDS:
                    if words[:1] == ["imgassets"]:
                        yield words
                    words = []
                else:
                    words.append(word)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a text over several lines
        return []


def read_the_readme(folder: Path, environment: dict[str, str], python: Path | str) -> None:
    """Do what it says under *Your own images* and *Train from them*, in a folder, with ten images of one's own."""
    for number in range(10):
        place = folder / "data" / "cats" / ("tabby" if number % 2 else "black") / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(jpeg(number))
    (script,) = (text for text in blocks(PAGES["README"], "bash") if "imgassets init" in text)
    lines = [line for line in script.splitlines() if not line.startswith("pip ")]
    text = "set -eu\n" + "\n".join(lines).replace("/data/cats", str(folder / "data" / "cats"))
    done = subprocess.run(
        ["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (declared,) = blocks(PAGES["README"], "yaml")
    assert (folder / "photos" / "photos" / "defs" / "cats" / "defs.yaml").read_text() == declared
    (snippet,) = blocks(PAGES["README"], "python")
    told = subprocess.run(
        [python, "-c", snippet],
        cwd=folder / "photos",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.stdout.startswith("10 tensor("), told.stdout + told.stderr
