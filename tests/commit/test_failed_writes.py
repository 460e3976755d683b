"""A failed or short write under every kind of artifact: an error in words and nothing published, or the right bytes.

The calls fail below Python, where libraries written in C make theirs too. What is not marked slow is a sample, taken
again by `FAULT_SEED=… pytest …`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.commit.invariants import SEED, Broken, Tally

CHECKOUT = Path(__file__).parents[2]
LIBRARIES = ["hdf5", "hdf5-files", "parquet", "ipc", "index", "activations", "embedding"]
"""Kinds that a library written in C has a part in."""


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`failing_writes.c` as a library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a C compiler and Linux are needed to make calls fail below Python")
    library = tmp_path_factory.mktemp("preload") / "failing_writes.so"
    source = Path(__file__).with_name("failing_writes.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def try_writes(preload: Path, scratch: Path, *arguments: str, at_least: int) -> None:
    """Let calls fail while artifacts are made; fail if anything broke."""
    print(f"FAULT_SEED={SEED}")
    command = [sys.executable, "-m", "tests.commit.failing_writes", str(scratch), *arguments, "--seed", str(SEED)]
    env = {**os.environ, "LD_PRELOAD": str(preload), "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path])}
    done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tally = Tally("failed writes" + " in new processes" * ("--fresh" in arguments))
    for line in done.stdout.splitlines():
        found = json.loads(line)
        tally.check("{kind}: {way} at call {number}, {call}".format(**found), partial(judge, found))
    tally.finish(at_least)


def judge(found: dict[str, Any]) -> None:
    """Raise what broke, if anything did."""
    if "broken" in found:
        raise Broken(*found["broken"])


def test_some_failed_writes(preload: Path, scratch: Path) -> None:
    try_writes(preload, scratch, "--sample", "2", at_least=50)


def test_some_failed_writes_in_new_processes(preload: Path, scratch: Path) -> None:
    try_writes(preload, scratch, "hdf5", "--fresh", "--sample", "2", at_least=2)


@pytest.mark.slow
def test_every_failed_write(preload: Path, scratch: Path) -> None:
    try_writes(preload, scratch, at_least=3000)


@pytest.mark.slow
def test_many_failed_writes_in_new_processes(preload: Path, scratch: Path) -> None:
    try_writes(preload, scratch, *LIBRARIES, "--fresh", "--sample", "15", at_least=15 * len(LIBRARIES))
