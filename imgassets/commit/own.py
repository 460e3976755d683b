"""The vault's own folder, `.imgassets` in its root: locks and owners, for all who may write in the vault."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

OWN = ".imgassets"


def own_folder(root: Path, name: str) -> Path:
    """The folder `.imgassets/<name>` of the vault at `root`, made where it is missing.

    Raises:
        FileNotFoundError: whoever was last in it removed it at this moment.
    """
    folder = root / OWN / name
    for path in (folder.parent, folder):
        with suppress(FileExistsError):
            path.mkdir()
        share(path, root)
    return folder


def share(path: Path | int, root: Path) -> None:
    """Let all who may write in `root` write a folder, or a file (its descriptor), too, whatever the umask.

    Without membership in the root's group that cannot be done, and nobody else gets rights in its stead.
    """
    whole, own = os.stat(root), os.stat(path)
    mode = own.st_mode & 0o7000 | (whole.st_mode & (0o777 if S_ISDIR(own.st_mode) else 0o666)) | own.st_mode & 0o700
    with suppress(PermissionError):  # whoever made it has done that, or could not
        if own.st_gid != whole.st_gid:
            os.chown(path, -1, whole.st_gid)
        if own.st_mode & 0o7777 != mode:
            os.chmod(path, mode)
