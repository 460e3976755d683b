"""`kill -9` while a CT split is made, at one system call after another, and what the next attempt makes of it."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from imgassets.sample_data.ct_rate import files
from tests.components.ct.test_volumes import SHAPE, SPACING, World, mirror

CALLS = ("write", "fsync", "rename", "replace")
KEYS = tuple(f"train_{i}_a_1" for i in range(1, 4))


def make(folder: Path, repository: str) -> None:
    """Index, shards and manifest of a split, as a process begun anew makes them."""
    shutil.rmtree(folder / "home", ignore_errors=True)
    World(folder, repository).all()


def in_process(work: Callable[[], None], kill_at: int = 0) -> tuple[int | None, int]:
    """Do `work` in a process of its own, which dies at its system call number `kill_at`; exit code, calls made."""
    context = get_context("fork")
    count = context.Value("i", 0)

    def counted(call: Any) -> Any:
        def instead(*arguments: Any, **named: Any) -> Any:
            count.value += 1
            if count.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return instead

    def run() -> None:
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    process = context.Process(target=run)
    process.start()
    process.join(120)
    return process.exitcode, count.value


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a vault, but for the record of its owner, who is another one in every home."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "owners"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def finished(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of each shard that has its manifest."""
    shards = (folder / "ct/shards").rglob("shard-*.tar")
    whole = [path for path in shards if (path.parent / ".imgassets" / f"{path.name}.json").exists()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in whole}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes], int]:
    """The repository, what comes of it, and the number of system calls that takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    repository = mirror(folder / "mirror", dict(files({"train": KEYS}, shape=SHAPE, spacing=SPACING)))
    code, calls = in_process(lambda: make(folder, repository))
    assert code == 0
    return repository, tree(folder / "store"), calls


@pytest.mark.parametrize("part", [*range(3), *(pytest.param(part, marks=pytest.mark.slow) for part in range(3, 60))])
def test_a_rerun_after_a_kill_gives_the_same_bytes(
    undisturbed: tuple[str, dict[str, bytes], int], tmp_path: Path, part: int
) -> None:
    repository, expected, calls = undisturbed
    number = 1 + (part * 37) % 60 * calls // 60  # all over the attempt, the few of a quick run as well
    code, _ = in_process(lambda: make(tmp_path, repository), number)
    assert code == -signal.SIGKILL
    before = finished(tmp_path / "store")
    code, _ = in_process(lambda: make(tmp_path, repository))
    assert code == 0
    assert tree(tmp_path / "store") == expected
    assert before.items() <= finished(tmp_path / "store").items()
    assert [path for path in (tmp_path / "state/downloads").rglob("*") if path.is_file()] == []
