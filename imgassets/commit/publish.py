"""Moving what is finished to its place in one step, with no moment in which neither version is there."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from imgassets.errors import StoreError

log = logging.getLogger(__name__)

RENAME_EXCHANGE = 2
"""`linux/fs.h`: swap two paths atomically."""
RACES = 100
"""Times that a folder may be removed by others before it is used: far more than writers do."""


class Unfinished(StoreError):
    """A move failed, and putting things back failed too: nothing is lost, but the stage must stay for the next run."""


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_tree(path: Path) -> None:
    """Make the names in a folder and in all folders below it durable, innermost first."""
    for folder, _, _ in os.walk(path, topdown=False, onerror=raise_it):
        fsync_folder(Path(folder))


def raise_it(error: OSError) -> None:
    """For `os.walk`, which passes over what it cannot read unless told otherwise."""
    raise error


def fsync_above(path: Path, root: Path) -> None:
    """Make the names of `path` and of the folders above it durable, up to those that lie in `root`.

    A folder that is there already may have been made a moment ago by another writer that has not synced it yet.
    """
    for folder in path.parents:
        fsync_folder(folder)
        if folder == root:
            return


def make_folders(path: Path) -> None:
    """Create `path` and its missing parents durably, also while others remove parents that are empty."""
    for left in range(RACES, -1, -1):
        try:
            path.mkdir()
            fsync_folder(path.parent)
        except FileExistsError:
            if path.is_dir():
                return
            if _there(path):
                raise
        except FileNotFoundError:  # for ever, where folders cannot be made at all, as in /proc
            if not left:
                raise
            make_folders(path.parent)
        else:
            return


def remove_tree(path: Path) -> None:
    """Remove a folder, a file or a link with all that is in it; it need not be there."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def place(*moves: tuple[Path, Path]) -> None:
    """Put each staged file or folder at its final place, in this order, durably: all of them or, on an error, none.

    What lay there before takes the place of what was staged.

    Raises:
        OSError: everything is as it was.
        Unfinished: it could not be put back.
    """
    ours = [_identity(staged) for staged, _ in moves]
    try:
        for staged, final in moves:
            _put(staged, final)
            fsync_folder(final.parent)
    except BaseException as error:
        try:
            for (staged, final), identity in zip(reversed(moves), reversed(ours), strict=True):
                _put_back(staged, final, identity)
        except BaseException as again:
            raise Unfinished(
                f"{moves[0][1]} could not be put in place ({error}), and what was done could not be undone ({again}); "
                f"nothing is lost: mend that and run again."
            ) from error
        raise


def aside(final: Path) -> Path:
    """Where the old version waits while a file system without exchange takes the new one."""
    return final.with_name(f".{final.name}.old")


def restore_aside(final: Path) -> None:
    """Undo, or finish, a swap that died between setting aside and placing."""
    old = aside(final)
    if not _there(old):
        return
    if not _there(final):
        os.rename(old, final)
    fsync_folder(final.parent)
    remove_tree(old)


def _put(staged: Path, final: Path) -> None:
    while True:
        make_folders(final.parent)
        try:
            if _there(final):
                _swap(staged, final)
            else:
                os.rename(staged, final)
        except FileNotFoundError:  # a writer that failed next door removed the folder while it was empty
            if not _there(staged):
                raise
        else:
            return


def _put_back(staged: Path, final: Path, ours: tuple[int, int]) -> None:
    """Undo `_put`, however far it came: `ours` tells which is which, so that no interrupt comes at a wrong moment."""
    if not final.parent.exists():
        return
    old = aside(final)
    if _there(final) and _identity(final) == ours:
        if _there(staged):
            _swap(staged, final)
        elif _there(old):
            _also(final, staged)
        else:
            os.rename(final, staged)
    if _there(old):
        if _there(final) and _identity(final) == _identity(old):  # between two names of one file a rename does nothing
            old.unlink()
        else:
            os.replace(old, final)
    fsync_folder(final.parent)


def _swap(staged: Path, final: Path) -> None:
    """Exchange two files or folders in one step.

    Where the file system cannot do that (NFS, some FUSE mounts), a file gets a second name first and is then
    replaced. A folder cannot have two names: it is set aside for a moment, and `restore_aside` finds it should the
    process die in between.
    """
    try:
        _exchange(staged, final)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        _also(final, aside(final))
        os.replace(staged, final)
        os.rename(aside(final), staged)


def _also(path: Path, name: Path) -> None:
    """Give a file a second name, or a folder this name instead."""
    try:
        os.link(path, name)
    except OSError:
        log.warning("%s is set aside for a moment: this file system cannot exchange two names.", path)
        os.rename(path, name)


def _exchange(a: Path, b: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "no renameat2 in this C library")
    here = -100  # AT_FDCWD
    if renameat2(here, os.fsencode(a), here, os.fsencode(b), RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(b))


def _identity(path: Path) -> tuple[int, int]:
    stat = os.lstat(path)
    return stat.st_dev, stat.st_ino


def _there(path: Path) -> bool:
    """Whether there is such a name; unlike `os.path.lexists`, which takes an I/O error for a no."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
