"""What a type checker knows of an open store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import imgassets

PACKAGE = Path(imgassets.__file__).parent
USE = """
import numpy as np
from numpy.typing import NDArray

from imgassets import open_store

store = open_store("x")
labels: NDArray[np.int64] = store.labels
classes: dict[str, int] = dict(store.class_to_idx)
rows: int = len(store)
image, label = store[0]
images, targets = store[[3, 7]]
loader = store.loader(8, shuffle=True)
loader.sampler.set_epoch(3)
state: dict[str, int] = loader.state_dict()
for images, targets in loader:
    pass
fields = [field.shape for field in store.fields]
names: list[str] = [*store.classes, store.name(0)]
offset: int | None = store.place(0).offset
store.verify()
part = store.select(classes=["n02085620"], where=lambda store: store.labels < 100).select([1, 0])
kept: NDArray[np.int64] = part.rows
for images, targets in part.loader(8, indices=[0]):
    pass
open_store("x", layer="midblock").column("image", [1, 2])
store.labels.no_such_method()
store.no_such_name
"""
CONFIG = """
[mypy]
strict = True
[mypy-torch.*,pyarrow.*,numba.*,h5py.*,PIL.*,llvmlite.*,dagster.*]
follow_imports = skip
ignore_missing_imports = True
[mypy-imgassets.*]
follow_imports = silent
"""


@pytest.mark.slow
def test_a_user_s_types(tmp_path: Path) -> None:
    assert (PACKAGE / "py.typed").exists()
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "cache", "use.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    errors = [line.split(":")[1] for line in run.stdout.splitlines() if line.startswith("use.py") and "error" in line]
    wrong = [str(number) for number, line in enumerate(USE.splitlines(), 1) if "no_such" in line]
    assert sorted(set(errors)) == wrong, run.stdout + run.stderr
