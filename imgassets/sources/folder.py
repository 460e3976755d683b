"""Class-folder datasets: `<root>/<class>/…/<image>`, the folder's name being the label; or images with label images."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgassets.errors import BadInput
from imgassets.sources.batches import natural_key
from imgassets.sources.files import ImageFiles, Item, suffix_of

JPEG, PNM = ("jpg", "jpeg", "jpe"), ("ppm", "pgm", "pbm", "pnm")
EXTENSIONS = frozenset({*JPEG, *PNM, "png", "bmp", "dib", "gif", "webp", "tif", "tiff"})
"""What is taken for an image by its name; what it is, its content decides."""


def class_folder(
    root: Path, *, mode: str = "RGB", class_to_idx: Mapping[str, int] | None = None, on_error: str = "fail"
) -> ImageFiles:
    """The images below the class folders of `root`: classes in natural order, then paths in natural order.

    A class is a folder directly below `root`; deeper folders belong to it. Its number is its rank, or what
    `class_to_idx` says. Hidden files and files with other extensions are no images; images beside the class folders
    belong to none, and are listed in the source's `about`.

    Raises:
        BadInput: there is no such folder, no class or no image; a class is empty (unless `on_error="skip"`); two names
            differ only by case or Unicode form, or one is not in UTF-8.
    """
    root = _folder(root)
    entries = [entry for entry in os.scandir(root) if not entry.name.startswith(".")]
    names = sorted((entry.name for entry in entries if entry.is_dir()), key=natural_key)
    loose = sorted(entry.name for entry in entries if entry.is_file() and suffix_of(entry.name) in EXTENSIONS)
    if not names:
        raise BadInput(f"{root} has no class folders: images belong into {root}/<class>/<image>.")
    _refuse_other_encodings(root, names)
    _refuse_doubles(root, names)
    numbers = dict(class_to_idx) if class_to_idx is not None else {name: k for k, name in enumerate(names)}
    if unknown := [name for name in names if name not in numbers]:
        raise BadInput(f"{root}/{unknown[0]} is none of the {len(numbers)} classes: remove or rename the folder.")
    paths: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for name in names:
        found = list(_images(root, name))
        paths += found
        labels += [numbers[name]] * len(found)
        if not found:
            empty.append(name)
    if empty and on_error == "fail" and paths:
        raise BadInput(f"{root}/{empty[0]} holds no image: remove the folder, or set on_error: skip.")
    if not paths:
        raise BadInput(f"{root} holds no images ({', '.join(sorted(EXTENSIONS))}) in its {len(names)} class folders.")
    left_out = {"empty_classes": empty, "without_class": loose}
    about: dict[str, Any] = {"kind": "class_folder", "mode": mode} | {what: of for what, of in left_out.items() if of}
    return ImageFiles(_Listing(root, paths, labels), numbers, mode=mode, about=about)


def label_folder(root: Path, labels: Path, *, mode: str = "RGB") -> ImageFiles:
    """Images of `root` in natural order, each with the label image in `labels` of the same path but for the extension.

    An image without a label is a sample that cannot be used.

    Raises:
        BadInput: there is no such folder, or no image; two label files fit one image.
    """
    root, labels = _folder(root), _folder(labels)
    found: dict[str, str] = {}
    for path in _images(labels, "", EXTENSIONS | {"npy"}):
        stem = unicodedata.normalize("NFC", path.rpartition(".")[0])
        if stem in found:
            raise BadInput(f"{labels}/{found[stem]} and {path} are both labels of {stem}: keep one.")
        found[stem] = path
    paths = list(_images(root, ""))
    fitting = [found.get(unicodedata.normalize("NFC", path.rpartition(".")[0]), "") for path in paths]
    if not paths:
        raise BadInput(f"{root} holds no images ({', '.join(sorted(EXTENSIONS))}).")
    return ImageFiles(_Labelled(root, paths, labels, fitting), mode=mode, about={"kind": "label_folder", "mode": mode})


class _Listing(Sequence[Item]):
    """Items of a folder, made when they are looked at: paths below the root are all that is kept."""

    def __init__(self, root: Path, paths: Sequence[str], labels: Sequence[int]) -> None:
        self._root, self._paths, self._labels = root, paths, labels

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        return self._item(index, self._paths[index])

    def _item(self, index: int, path: str) -> Item:
        return Item(path, self._root / path, self._labels[index])


class _Labelled(_Listing):
    """The same, with label files (empty: there is none)."""

    def __init__(self, root: Path, paths: Sequence[str], labels: Path, fitting: Sequence[str]) -> None:
        super().__init__(root, paths, ())
        self._folder, self._fitting = labels, fitting

    def _item(self, index: int, path: str) -> Item:
        label = self._fitting[index]
        problem = "" if label else f"there is no label file for it in {self._folder.name}"
        return Item(path, self._root / path, 0, label_path=self._folder / (label or path), problem=problem)


def listing(source: ImageFiles) -> Iterator[tuple[str, Path]]:
    """Names and places of every file a source reads, for checksums of inputs."""
    return (pair for item in source.items for pair in _files(item))


def _files(item: Item) -> Iterator[tuple[str, Path]]:
    yield item.name, item.path
    if item.label_path is not None:
        yield f"{item.name} label", item.label_path


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise BadInput(f"{path} is no folder: put the images there, or correct the path.")
    return path


def _refuse_other_encodings(root: Path, names: Sequence[str]) -> None:
    for name in names:
        if any(unicodedata.category(c) == "Cs" for c in name):  # how Python writes bytes that are no UTF-8
            raise BadInput(f"{root} holds {name.encode(errors='surrogateescape')!r}, a name not in UTF-8: rename it.")


def _refuse_doubles(root: Path, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in seen:
            raise BadInput(
                f"{root} has the folders {seen[plain]!r} and {name!r}, which differ only by case or Unicode form: "
                f"one class would silently be two; merge them."
            )
        seen[plain] = name


def _images(root: Path, below: str, extensions: frozenset[str] = EXTENSIONS) -> Iterator[str]:
    """Paths of images below `root/below`, relative to `root`, in natural order; a loop of links is walked once."""
    seen: set[tuple[int, int]] = set()
    paths: list[str] = []
    for folder, folders, names in os.walk(root / below, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural_key)
        for name in names:
            if not name.startswith(".") and suffix_of(name) in extensions:
                paths.append((Path(folder) / name).relative_to(root).as_posix())
    _refuse_other_encodings(root, paths)
    yield from sorted(paths, key=natural_key)
