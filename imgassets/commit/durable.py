"""Names of files and folders that last, and outlast others who make and remove names beside them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

RACES = 100
"""Times that a folder may be removed by others before it is used: far more than writers do."""


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
            if there(path):
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


def identity(path: Path) -> tuple[int, int]:
    """What tells a file or folder from any other, whatever it is called."""
    stat = os.lstat(path)
    return stat.st_dev, stat.st_ino


def there(path: Path) -> bool:
    """Whether there is such a name; unlike `os.path.lexists`, which takes an I/O error for a no."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
