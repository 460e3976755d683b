"""A disk that is really full, and limits the kernel really enforces."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from imgassets.commit import Stage, Vault, Written
from imgassets.errors import StoreError
from tests.commit import victim
from tests.commit.invariants import tree
from tests.commit.victim import Kind

MIB = 1 << 20


def big(stage: Stage, *, need: bool = False) -> Written:
    """8 MiB."""
    if need:
        stage.need(8 * MIB)
    with stage.create("x.tar") as sink:
        for i in range(64):
            sink.write(bytes([i]) * (MIB // 8))
    return Written()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A disk of 4 MiB and a way to mount it otherwise; only root may have one."""
    mounted = tmp_path / "disk"
    mounted.mkdir()

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(mounted)], check=True, capture_output=True)

    try:
        mount("size=4m")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("mounting a small disk takes root")
    try:
        yield mounted, lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def in_process_limited(work: Callable[[], None]) -> None:
    """Do `work` in a forked process, whose limits end with it."""

    def run() -> None:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    process = get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("need", [False, True], ids=["while-writing", "beforehand"])
def test_a_full_disk_is_said_and_leaves_the_old_version(
    kind: Kind, need: bool, disk: tuple[Path, Callable[[str], None]], tmp_path: Path
) -> None:
    mounted, remount = disk
    vault = Vault(mounted / "store", tmp_path / "state")
    location = victim.location_in(vault, kind)
    vault.commit(location, victim.recipe(kind, 1), lambda stage: victim.write(stage, victim.FILES[kind][1]))
    before = tree(vault.root)

    def attempt() -> None:
        vault.commit(location, victim.recipe(kind, 9), lambda stage: big(stage, need=need))

    with pytest.raises(StoreError) as error:
        attempt()
    if need:
        assert "needs 8.0 MiB, 3." in str(error.value)
    else:
        assert "The disk is full (No space left on device)" in str(error.value)
        assert re.search(r": \S+ (KiB|bytes) free at", str(error.value)), "told after room was made again"
    assert str(location.path if not need else location.path.parent) in str(error.value)
    assert tree(vault.root) == before
    remount("size=32m")
    attempt()
    other = Vault(tmp_path / "other", tmp_path / "other-state")
    other.commit(victim.location_in(other, kind), victim.recipe(kind, 9), big)
    assert tree(vault.root) == tree(other.root)


def test_no_inodes_left_is_a_full_disk(kind: Kind, disk: tuple[Path, Callable[[str], None]], tmp_path: Path) -> None:
    mounted, remount = disk
    vault = Vault(mounted / "store", tmp_path / "state")
    location = victim.location_in(vault, kind)
    vault.commit(location, victim.recipe(kind, 1), lambda stage: victim.write(stage, victim.FILES[kind][1]))
    before, used = tree(vault.root), os.statvfs(mounted).f_files - os.statvfs(mounted).f_ffree

    def limited(inodes: int) -> str | None:
        remount(f"nr_inodes={inodes}")
        try:
            vault.commit(location, victim.recipe(kind, 2), lambda stage: victim.write(stage, victim.FILES[kind][2]))
        except StoreError as error:
            return str(error)
        return None

    refused = 0
    while (message := limited(used + refused)) is not None:
        assert "The disk is full" in message
        assert tree(vault.root) == before
        refused += 1
    assert 5 < refused < 15


def test_a_limit_on_file_size_is_an_error_like_any(kind: Kind, scratch: Path) -> None:
    vault = victim.vault_at(scratch)
    location = victim.location_in(vault, kind)
    victim.commit(scratch, kind, 1)
    before = tree(vault.root)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
        with pytest.raises(StoreError, match="could not be written: File too large"):
            vault.commit(location, victim.recipe(kind, 9), big)

    in_process_limited(work)
    assert tree(vault.root) == before


def test_running_out_of_descriptors_is_an_error_like_any(kind: Kind, scratch: Path) -> None:
    """And none is lost on the way."""
    vault = victim.vault_at(scratch)
    victim.commit(scratch, kind, 1)
    location = victim.location_in(vault, kind)
    before = tree(location.path)

    def limited(files: int, most: int) -> str | None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        try:
            victim.commit(scratch, kind, 2)
        except StoreError as error:
            return str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return None

    def work() -> None:
        while (highest := os.open(os.devnull, os.O_RDONLY)) != len(os.listdir("/proc/self/fd")) - 2:
            pass  # until every number below is taken
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        refused = 0
        while (message := limited(highest + 1 + refused, most)) is not None:
            assert "Too many open files" in message
            assert tree(location.path) == before  # the stage may remain: a folder takes descriptors to remove
            refused += 1
        assert 1 < refused < 12
        assert len(os.listdir("/proc/self/fd")) == highest + 2

    in_process_limited(work)
    victim.commit(scratch, kind, 2)
    victim.commit(scratch / "other", kind, 2)
    assert tree(vault.root) == tree(scratch / "other" / "store")
