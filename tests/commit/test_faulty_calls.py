"""A call that fails, writes half, or is the last, under every kind of artifact, fresh and in an older one's place.

The calls fail below Python, where libraries written in C make theirs too. What is not marked slow is a sample, taken
again by `FAULT_SEED=… pytest …`; `make faults` takes about a thousand points, `make faults ALL=1` all.
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

from tests.commit.invariants import ALL, SEED, Broken, Tally

CHECKOUT = Path(__file__).parents[2]
LIBRARIES = ["hdf5", "hdf5-files", "parquet", "ipc", "index", "activations", "embedding"]
"""Kinds that a library written in C has a part in."""


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`faulty_calls.c` as a library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a C compiler and Linux are needed to make calls fail below Python")
    library = tmp_path_factory.mktemp("preload") / "faulty_calls.so"
    source = Path(__file__).with_name("faulty_calls.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def try_calls(preload: Path, scratch: Path, *arguments: str, at_least: int) -> None:
    """Let calls fail while artifacts are made; fail if anything broke."""
    print(f"FAULT_SEED={SEED}")
    command = [sys.executable, "-m", "tests.commit.faulty_calls", str(scratch), *arguments, "--seed", str(SEED)]
    env = {**os.environ, "LD_PRELOAD": str(preload), "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path])}
    done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tallies: dict[str, Tally] = {}
    for line in done.stdout.splitlines():
        found = json.loads(line)
        what = f"{found['way']} at a call of any library" + ", in new processes" * ("--fresh" in arguments)
        tally = tallies.setdefault(what, Tally(what))
        tally.check("{kind}, {start}: {way} at call {number}, {call}".format(**found), partial(judge, found))
    assert sum(tally.points for tally in tallies.values()) >= at_least
    for tally in tallies.values():
        tally.finish(1)


def judge(found: dict[str, Any]) -> None:
    """Raise what broke, if anything did."""
    if "broken" in found:
        raise Broken(*found["broken"])


def test_some_faulty_calls(preload: Path, scratch: Path) -> None:
    try_calls(preload, scratch, "--sample", "2", at_least=100)


def test_some_faulty_calls_in_new_processes(preload: Path, scratch: Path) -> None:
    try_calls(preload, scratch, "hdf5", "--fresh", "--sample", "2", at_least=4)


@pytest.mark.slow
def test_many_faulty_calls(preload: Path, scratch: Path) -> None:
    try_calls(preload, scratch, "--sample", "0" if ALL else "24", at_least=3000 if ALL else 1000)


@pytest.mark.slow
def test_many_faulty_calls_in_new_processes(preload: Path, scratch: Path) -> None:
    try_calls(preload, scratch, *LIBRARIES, "--fresh", "--sample", "15" if ALL else "4", at_least=8 * len(LIBRARIES))
