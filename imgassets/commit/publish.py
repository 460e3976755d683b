"""Moving a finished artifact to its place in one step, with no moment in which neither version is there."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

RENAME_EXCHANGE = 2
"""`linux/fs.h`: swap two paths atomically."""


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_tree(path: Path) -> None:
    """Make the names in a folder and in all folders below it durable, innermost first."""
    for folder, _, _ in os.walk(path, topdown=False):
        fsync_folder(Path(folder))


def make_folders(path: Path) -> None:
    """Create `path` and its missing parents durably, also while others remove parents that are empty."""
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        make_folders(path.parent)
        make_folders(path)
    else:
        fsync_folder(path.parent)


def place_file(staged: Path, final: Path, staged_manifest: Path, manifest: Path) -> None:
    """Put a file at `final`, then its manifest; an error in between puts the version before back."""
    replaced = final.exists()
    _swap(staged, final) if replaced else os.rename(staged, final)
    try:
        fsync_folder(final.parent)
        os.replace(staged_manifest, manifest)
    except BaseException:
        _swap(staged, final) if replaced else os.rename(final, staged)
        raise
    fsync_folder(manifest.parent)


def place_folder(staged: Path, final: Path) -> None:
    """Put the folder `staged` at `final`; an older folder there takes the place of `staged`."""
    _swap(staged, final) if final.exists() else os.rename(staged, final)
    fsync_folder(final.parent)


def _swap(staged: Path, final: Path) -> None:
    """Exchange two files or folders in one step.

    Where the file system cannot do that (NFS, some FUSE mounts), `final` is set aside for a moment, and
    `restore_aside` finds it should the process die in between.
    """
    try:
        _exchange(staged, final)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        log.warning("%s: this file system cannot exchange two names; the old version is set aside for a moment", final)
        os.rename(final, aside(final))
        os.rename(staged, final)
        os.rename(aside(final), staged)


def aside(final: Path) -> Path:
    """Where the old version waits while a file system without exchange takes the new one."""
    return final.with_name(f".{final.name}.old")


def restore_aside(final: Path) -> None:
    """Undo, or finish, a swap that died between setting aside and placing."""
    old = aside(final)
    if not old.exists():
        return
    if not final.exists():
        os.rename(old, final)
    elif old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink()
    fsync_folder(final.parent)


def _exchange(a: Path, b: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "no renameat2 in this C library")
    here = -100  # AT_FDCWD
    if renameat2(here, os.fsencode(a), here, os.fsencode(b), RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(b))
