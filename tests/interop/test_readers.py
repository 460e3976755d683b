"""The table of who reads what, in the page of formats: made by the programs themselves, pixels and labels compared."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imgassets
from imgassets.commit import Recipe, Vault
from imgassets.formats.activation_npz import write_batch
from imgassets.formats.arrays import LabelledImages, write_arrays
from imgassets.formats.ct_split import card
from imgassets.sources.arrays import ArraySource
from imgassets.sources.encoded import Encoded
from imgassets.sources.folder import class_folder
from imgassets.testing.making import content, encoded, make, picture, write
from tests.formats.ct_making import sample, write_split
from tests.interop.readers import digest
from tests.interop.test_interop import PYTHON, ROOT, pytestmark

__all__ = ["pytestmark"]

PAGE = Path(next(iter(imgassets.__path__))) / "docs" / "formats" / "README.md"
BEGIN, END = "<!-- made by tests/interop/test_readers.py -->\n", "<!-- end -->\n"
WRITE = "IMGASSETS_WRITE_TABLE"
COLUMNS = {
    "memmap": "memmap",
    "hdf5": "hdf5",
    "parquet": "parquet",
    "ipc": "ipc",
    "tar": "tar",
    "ct_guide": "CT shards",
    "ct_npy": "CT shards, `members: npy`",
    "arrays": "arrays",
    "activations": "activations",
}
FORMATS = ("memmap", "hdf5", "parquet", "ipc", "tar")
ROWS = 7


class Inputs:
    """Stores of every format, and what they hold."""

    def __init__(self, root: Path) -> None:
        self.root, self.wanted = root / "inputs", dict[str, list[Any]]()
        for name in ("cat", "dog"):
            for k in range(4):
                kind = "PNG" if k == 3 else "JPEG"
                write(root / "images" / name / f"{k}.{kind.lower()}", encoded(picture(k, 12 + k, 9), kind))
        files = class_folder(root / "images")
        rng = np.random.default_rng(0)
        pixels, labels = rng.integers(0, 255, (ROWS, 6, 5, 3), np.uint8), np.arange(ROWS) % 2
        fixed = ArraySource([(pixels, labels)], class_to_idx={"cat": 0, "dog": 1}, layout="HWC")
        for kind, source in (("files", files), ("pixels", fixed)):
            columns = content(source)
            rows = zip(columns["image"], np.asarray(columns["label"]).tolist(), strict=True)
            self.wanted[kind] = [[digest(i if kind == "pixels" else bytes(i)), label] for i, label in rows]
            for format_ in FORMATS:
                made = make(root / "made", source, format_, kind, images_per_file=3, split="val")
                self.put(format_, kind).symlink_to(made)
        self.wanted["pngs"] = self.wanted["pixels"]
        for format_ in FORMATS:  # layout: huggingface
            made = make(root / "made", Encoded(fixed), format_, "pngs", images_per_file=3, split="val")
            self.put(format_, "pngs").symlink_to(made)
        self.arrays(root, pixels, labels)
        self.activations(root, pixels, labels)
        for members in ("guide", "npy"):
            path = write_split(self.put(f"ct_{members}", "ct", make=True), members)  # type: ignore[arg-type]
            write(path / "README.md", card("valid", ["Emphysema", "Atelectasis"]))
        self.wanted["ct"] = [[digest(s.array), list(map(float, s.labels))] for s in map(sample, range(5))]

    def put(self, format_: str, kind: str, *, make: bool = False) -> Path:
        path = self.root / format_ / kind
        (path if make else path.parent).mkdir(parents=True, exist_ok=True)
        return path

    def arrays(self, root: Path, pixels: Any, labels: Any) -> None:
        blocks = [pixels.transpose(0, 3, 1, 2).reshape(ROWS, -1)]
        self.commit(root, "arrays", lambda stage: write_arrays(LabelledImages(blocks, labels, (3, 6, 5)), stage))
        self.wanted["arrays"] = self.wanted["pixels"]

    def activations(self, root: Path, pixels: Any, labels: Any) -> None:
        def write_them(stage: Any) -> Any:
            from imgassets.commit import Written

            samples = [{"class_id": int(label), "original_path": ""} for label in labels]
            write_batch(stage, 0, {"midblock": pixels.reshape(ROWS, -1).astype(np.float32)}, samples)
            return Written()

        self.commit(root, "activations", write_them)
        rows = pixels.reshape(ROWS, -1).astype(np.float32)
        self.wanted["activations"] = [[digest(row), int(label)] for row, label in zip(rows, labels, strict=True)]

    def commit(self, root: Path, name: str, writes: Any) -> None:
        vault = Vault(root / "vault", root / "state")
        location = vault.location(name, "all", folder=True)
        vault.commit(location, Recipe(name, "all", {}, {}, "x/1", "1"), writes)
        self.put(name, name).symlink_to(location.path)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, list[Any]]:
    root = tmp_path_factory.mktemp("matrix")
    inputs = Inputs(root)
    out, program = root / "cells.json", Path(__file__).parent / "readers.py"
    home = {"HOME": str(root / "home"), "HF_HOME": str(root / "home"), "CACHE": str(root / "cache")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [PYTHON, "-W", "ignore", program, inputs.root, out],
        env=os.environ | home | offline,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return inputs, json.loads(out.read_text())


def test_every_pixel_and_label_is_the_same_in_every_program(cells: tuple[Inputs, list[Any]]) -> None:
    inputs, found = cells
    wrong = [cell[:4] for cell in found if cell[4] != inputs.wanted[cell[2]]]
    assert not wrong
    assert len(found) > 40


def test_the_table_in_the_page(cells: tuple[Inputs, list[Any]]) -> None:
    """With `IMGASSETS_WRITE_TABLE=1` it is written."""
    _, found = cells
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    new = table(found)
    if os.environ.get(WRITE):
        PAGE.write_text(before + BEGIN + new + END + after, encoding="utf-8")
    else:
        assert old == new, f"run this test with {WRITE}=1"


def table(found: list[Any]) -> str:
    """A row a program, a column a format, and in each cell what the program is given."""
    readers = list(dict.fromkeys(cell[0] for cell in found))
    given = {(cell[0], cell[1]): cell[3] for cell in found}
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---|" * len(COLUMNS)]
    for reader in readers:
        lines.append(f"| {reader} | " + " | ".join(given.get((reader, name), "") for name in COLUMNS) + " |")
    return "\n".join(lines) + "\n"
