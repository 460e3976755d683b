"""Moving what is finished to its place in one step, with no moment in which neither version is there."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from pathlib import Path

from imgassets.commit import versions
from imgassets.commit.durable import fsync_folder, identity, make_folders, remove_tree, there
from imgassets.commit.versions import aside
from imgassets.errors import StoreError

log = logging.getLogger(__name__)

RENAME_EXCHANGE = 2
"""`linux/fs.h`: swap two paths atomically."""


class Unfinished(StoreError):
    """A move failed, and putting things back failed too: nothing is lost, but the stage must stay for the next run."""


def place(*moves: tuple[Path, Path]) -> None:
    """Put each staged file or folder at its final place, in this order, durably: all of them or, on an error, none.

    What lay there before takes the place of what was staged.

    Raises:
        OSError: everything is as it was.
        Unfinished: it could not be put back.
    """
    ours = [identity(staged) for staged, _ in moves]
    try:
        for staged, final in moves:
            _put(staged, final)
            fsync_folder(final.parent)
    except BaseException as error:
        try:
            for (staged, final), which in zip(reversed(moves), reversed(ours), strict=True):
                _put_back(staged, final, which)
        except BaseException as again:
            raise Unfinished(
                f"{moves[0][1]} could not be put in place ({error}), and what was done could not be undone ({again}); "
                f"nothing is lost: mend that and run again."
            ) from error
        raise


def recover(final: Path) -> None:
    """Undo, or finish, a move that died between its steps."""
    old = aside(final)
    waiting = there(old)
    if waiting and not there(final):
        os.rename(old, final)
    left = versions.leavings(final)
    if waiting or left:
        fsync_folder(final.parent)
    for path in (old, *left):
        remove_tree(path)


def _put(staged: Path, final: Path) -> None:
    while True:
        make_folders(final.parent)
        try:
            if there(final):
                _swap(staged, final)
            elif staged.is_file() or _exchanges(staged.parent) or not versions.put(staged, final):
                os.rename(staged, final)
        except FileNotFoundError:  # a writer that failed next door removed the folder while it was empty
            if not there(staged):
                raise
        else:
            return


def _put_back(staged: Path, final: Path, ours: tuple[int, int]) -> None:
    """Undo `_put`, however far it came: `ours` tells which is which, so that no interrupt comes at a wrong moment."""
    if not final.parent.exists():
        return
    versions.take_back(staged, final, ours)
    old = aside(final)
    if there(final) and identity(final) == ours:
        if there(staged):
            _swap(staged, final)
        elif there(old):
            _also(final, staged)
        else:
            os.rename(final, staged)
    if there(old):
        if there(final) and identity(final) == identity(old):  # between two names of one file a rename does nothing
            old.unlink()
        else:
            os.replace(old, final)
    fsync_folder(final.parent)


def _swap(staged: Path, final: Path) -> None:
    """Exchange two files or folders in one step.

    Where the file system cannot do that (NFS, some FUSE mounts), a file gets a second name first and is then
    replaced, and a folder becomes a link, which is turned.
    """
    if not versions.current(final):
        try:
            _exchange(staged, final)
        except OSError as error:
            if error.errno not in versions.CANNOT:
                raise
        else:
            return
    if staged.is_file() or not versions.put(staged, final):
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


def _exchanges(folder: Path) -> bool:
    """Whether names in a folder can be exchanged: two that are made for it are."""
    pair = folder / ".one", folder / ".other"
    for path in pair:
        path.mkdir(exist_ok=True)
    try:
        _exchange(*pair)
    except OSError as error:
        if error.errno not in versions.CANNOT:
            raise
        return False
    finally:
        for path in pair:
            path.rmdir()
    return True


def _exchange(a: Path, b: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "no renameat2 in this C library")
    here = -100  # AT_FDCWD
    if renameat2(here, os.fsencode(a), here, os.fsencode(b), RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(b))
