"""A walk below a folder that passes over nothing in silence: what is no sample is counted, by reason, with examples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imgassets.errors import BadInput
from imgassets.foreign import HEAD as FOREIGN
from imgassets.foreign import archive_kind, unpacker
from imgassets.images.sniff import HEAD, image_kind
from imgassets.sources.files import suffix_of

JPEG, PNM = ("jpg", "jpeg", "jpe", "jfif", "jif", "jfi", "pjpeg", "pjp"), ("ppm", "pgm", "pbm", "pnm")
OTHERS = ("avif", "heic", "heif", "hif", "jp2", "j2k", "j2c", "jpx", "jpf", "jxl", "apng")
EXTENSIONS = frozenset({*JPEG, *PNM, *OTHERS, "png", "bmp", "dib", "gif", "webp", "tif", "tiff"})
"""What is taken for an image by its name, so that a damaged one is told; of any other file the content decides."""

STRAYS = frozenset(
    {
        "__macosx",
        "lost+found",
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "__pycache__",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        ".ds_store",
        ".ipynb_checkpoints",
    }
)
"""What other systems and programs leave in folders, in lower case."""
EXAMPLES = 20


class Walk:
    """What lies below `root`: `files` counts every file, `passed` those that are no samples."""

    def __init__(self, root: Path, extensions: frozenset[str] = EXTENSIONS) -> None:
        if not root.is_dir():
            raise BadInput(f"{root} is no folder: put the images there, or correct the path.")
        self.root, self.files = root, 0
        self.passed: dict[str, tuple[int, list[str]]] = {}
        self._extensions, self._real = extensions, os.path.realpath(root)
        self._seen = {_identity(root): "."}
        self._places: dict[str, str] = {}
        self.loose: list[str] = []
        """Images beside the class folders."""

    def classes(self) -> list[str]:
        """The folders directly below the root, in no order; files beside them are passed over."""
        names = []
        for entry in self._kept(""):
            if _is_folder(entry):
                names.append(entry.name)
            elif reason := self._no_image(entry):
                self.pass_over(reason, entry.name)
            else:
                self.loose.append(entry.name)
                self.pass_over("without_class", entry.name)
        self._places = {os.path.realpath(self.root / name): name for name in names}
        return names

    def images(self, below: str) -> Iterator[str]:
        """Paths of the images below `root/below`, relative to `root`, in no order.

        Raises:
            BadInput: a folder cannot be listed; a link leads into another class, or in a circle.
        """
        folders = [below]
        while folders:
            folder = folders.pop()
            if folder:
                self._enter(folder, below)
            for entry in self._kept(folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    self._refuse_astray(path, below)
                if _is_folder(entry):
                    folders.append(path)
                elif reason := self._no_image(entry):
                    self.pass_over(reason, path)
                else:
                    yield path

    def pass_over(self, reason: str, path: str) -> None:
        """Count a file that is no sample."""
        count, examples = self.passed.get(reason, (0, []))
        self.passed[reason] = count + 1, [*examples, path] if count < EXAMPLES else examples

    def _kept(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """Entries of a folder but for hidden ones and strays, which are counted, and all that is in them."""
        try:
            with os.scandir(self.root / folder) as listed:
                entries = list(listed)
        except OSError as error:
            raise BadInput(
                f"{self.root / folder} cannot be listed: {error.strerror}; make it readable, or move it away."
            ) from None
        for entry in entries:
            reason = _reason(entry.name)
            self.files += 0 if reason or _is_folder(entry) else 1
            if reason:
                self._count(reason, f"{folder}/{entry.name}" if folder else entry.name, entry)
            else:
                yield entry

    def _count(self, reason: str, path: str, entry: os.DirEntry[str]) -> None:
        """Pass over a file, or all files of a folder; of one that cannot be listed, the folder."""
        inside: list[os.DirEntry[str]] = []
        whole = not entry.is_dir(follow_symlinks=False)
        try:
            inside = [] if whole else list(os.scandir(entry.path))
        except OSError:
            whole = True
        if whole:
            self.files += 1
            self.pass_over(reason, path)
        for each in inside:
            self._count(reason, f"{path}/{each.name}", each)

    def _no_image(self, entry: os.DirEntry[str]) -> str:
        """Why a file is no image, by its name and what it begins with; empty where it is one."""
        if suffix_of(entry.name) in self._extensions:
            return ""
        try:
            if not entry.is_file():
                return "no_image"
            with open(entry.path, "rb") as file:
                head = file.read(FOREIGN)
        except OSError:  # told when it is read, with the others that cannot be used
            return ""
        if image_kind(head[:HEAD]):
            return ""
        return "archive" if archive_kind(head) or unpacker(head) else "no_image"

    def _enter(self, folder: str, below: str) -> None:
        first = self._seen.setdefault(_identity(self.root / folder), folder)
        if first != folder:
            raise BadInput(
                f"{self.root}/{folder} and {first} are one folder: a link leaves its class {below} or runs in a "
                "circle; remove it."
            )

    def _refuse_astray(self, path: str, below: str) -> None:
        target = os.path.realpath(self.root / path)
        if f"{self._real}/".startswith(f"{target.rstrip('/')}/"):
            raise BadInput(f"{self.root}/{path} is a link in a circle, to {target}: remove it.")
        parts = Path(target).parents
        other = next((self._places[str(place)] for place in (target, *parts) if str(place) in self._places), below)
        if other != below:
            raise BadInput(f"{self.root}/{path} is a link out of its class into {other}: remove it, or copy the file.")


def files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder by its path in it, in order of these; without strays, and each linked folder once.

    Raises:
        BadInput: a folder cannot be listed.
    """
    found, seen = [], set()

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be listed: {error.strerror}; make it readable, or move it away.")

    for place, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not is_stray(name))
        found += [Path(place, name) for name in files if real not in seen and not is_stray(name)]
        seen.add(real)
    return ((shown(name), path) for name, path in sorted((path.relative_to(root).as_posix(), path) for path in found))


def passing(walked: int, passed: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What an index's manifest says of the files it was made from: how many, and those, with reasons, that are no rows.

    As JSON values: `walked`, and where there are any, `passed_over` as `summary` has it.
    """
    reasons: dict[str, tuple[int, list[str]]] = {}
    for reason, name in passed:
        count, some = reasons.get(reason, (0, []))
        reasons[reason] = count + 1, [*some, name][:EXAMPLES]
    return {"walked": walked} | ({"passed_over": summary(reasons)} if reasons else {})


def summary(passed: dict[str, tuple[int, list[str]]]) -> dict[str, Any]:
    """As JSON: `{"hidden": {"count": 2, "examples": [".a", ".b"]}}`."""
    return {
        reason: {"count": count, "examples": [shown(path) for path in sorted(some, key=os.fsencode)]}
        for reason, (count, some) in sorted(passed.items())
    }


def shown(path: str) -> str:
    """A path as text, also one that is not in UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def is_stray(name: str) -> bool:
    """Whether a file or folder of this name is what another system or program leaves behind."""
    return name.lower() in STRAYS or name.startswith(("._", ".Trash", "~$"))


def _reason(name: str) -> str:
    if is_stray(name):
        return "stray"
    return "hidden" if name.startswith(".") else ""


def _identity(folder: Path) -> tuple[int, int]:
    try:
        stat = os.stat(folder)
    except OSError as error:
        raise BadInput(f"{folder} cannot be listed: {error.strerror}; make it readable, or move it away.") from None
    return stat.st_dev, stat.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
