"""Folders where two names cannot be exchanged (NFS, some FUSE mounts): a link to one of two hidden versions.

A rename turns the link in one step, so readers there too see the old version or the new one, and never none.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from imgassets.commit.durable import fsync_folder, identity, remove_tree, there

log = logging.getLogger(__name__)

CANNOT = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
"""How file systems say that they do not know an operation."""

GRACE = 0.05
"""Seconds for which an old version keeps its name: whoever has just read the link is about to go there."""


def versions(final: Path) -> tuple[Path, Path]:
    """Where the two versions of a folder lie, of which the link names one."""
    return final.with_name(f".{final.name}.0"), final.with_name(f".{final.name}.1")


def aside(final: Path) -> Path:
    """Where the old version waits if the new one cannot take its place in one step."""
    return final.with_name(f".{final.name}.old")


def current(final: Path) -> Path | None:
    """The version that the link names; None where there is no link, or one that somebody else made."""
    try:
        target = os.readlink(final)
    except OSError:
        return None
    return next((version for version in versions(final) if version.name == target), None)


def put(staged: Path, final: Path) -> bool:
    """Place a folder; what lay there before takes the place of the staged one. `take_back` undoes it, however far.

    Only a folder that was published as such (elsewhere, or before there were links) is away for a moment, once.
    False, with nothing done, where the file system has no links.
    """
    old = current(final)
    new = _other(final, old)
    try:
        link = _link(final, new)
    except OSError as error:
        if error.errno not in {*CANNOT, errno.EPERM}:  # the latter is FAT's
            raise
        return False
    remove_tree(new)
    os.rename(staged, new)
    fsync_folder(final.parent)  # before anything names it
    if old is None and there(final):
        log.warning("%s is set aside for a moment, to be a link from now on: names cannot be exchanged here.", final)
        old = aside(final)
        os.rename(final, old)
    _turn(link, final)
    if old:
        time.sleep(GRACE)
        os.rename(old, staged)
    return True


def take_back(staged: Path, final: Path, ours: tuple[int, int]) -> None:
    """Undo `put` of the folder that is `ours`, if that was begun."""
    with suppress(FileNotFoundError):
        _turning(final).unlink()
    new = next((version for version in versions(final) if there(version) and identity(version) == ours), None)
    if new is None:
        return
    if current(final) == new:
        old = _other(final, new)
        for path in (staged, aside(final)):
            if there(path):
                os.rename(path, old)
                fsync_folder(final.parent)
        if there(old):
            _turn(_link(final, old), final)
        else:
            final.unlink()
    os.rename(new, staged)


def leavings(final: Path) -> list[Path]:
    """What a writer that died left beside a folder: a version that nothing names, and a link that was not turned."""
    now = current(final)
    return [path for path in (*versions(final), _turning(final)) if path != now and there(path)]


def _other(final: Path, version: Path | None) -> Path:
    first, second = versions(final)
    return second if version == first else first


def _link(final: Path, version: Path) -> Path:
    """A link that is not in its place yet."""
    link = _turning(final)
    with suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(version.name)
    return link


def _turn(link: Path, final: Path) -> None:
    """Durably: the version that was named before may go."""
    os.replace(link, final)
    fsync_folder(final.parent)


def _turning(final: Path) -> Path:
    return final.with_name(f".{final.name}.link")
