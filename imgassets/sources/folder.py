"""Class-folder datasets: `<root>/<class>/…/<image>`, the folder's name being the label; or images with label images."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from imgassets.classes import imagenet_classes
from imgassets.errors import BadInput
from imgassets.sources.batches import natural_key
from imgassets.sources.files import ImageFiles, Item
from imgassets.sources.walk import EXTENSIONS, Walk, shown, summary

ClassOrder = Literal["natural", "text", "imagenet"]
"""How classes are numbered: as people count (class2, class10), by their text as torchvision does, or by synset."""
SPLIT = re.compile(
    r"(?P<train>train(ing)?)?(?P<held>val(id(ation)?)?|test(ing)?|dev|eval)?([-_ ]?(set|split|data|images|\d{4}))?",
    re.IGNORECASE,
)
"""Names of folders that hold a split, such as `train`, `Validation`, `test_set` and `val2017`."""
SYNSET = re.compile(r"(?<![A-Za-z0-9])n\d{8}(?!\d)")


def class_folder(
    root: Path,
    *,
    mode: str = "RGB",
    class_to_idx: Mapping[str, int] | None = None,
    order: ClassOrder = "natural",
    on_error: str = "fail",
    called: str = "",
) -> ImageFiles:
    """The images below the class folders of `root`: classes in their order, then paths in natural order.

    A class is a folder directly below `root`; deeper folders belong to it. Its number is its rank among the classes
    that have images, or what `class_to_idx` says. What is no image by its content, hidden or a stray of another system
    is counted in the source's `walked`, and so are images beside the class folders. `called` is what a YAML file calls
    the folder.

    Raises:
        BadInput: there is no such folder, no class or no image; it holds splits; a class is empty (unless
            `on_error="skip"`); two names differ only by case or Unicode form, or one is not in UTF-8; a link leaves its
            class; a file is named after another synset than its folder.
    """
    walk = Walk(root)
    names = sorted(walk.classes(), key=natural_key)
    if not names:
        raise BadInput(f"{root} has no class folders{_archives(walk)}: images belong into {root}/<class>/<image>.")
    _refuse_other_encodings(root, names)
    _refuse_doubles(root, names)
    if class_to_idx is None:
        _refuse_splits(names, called or root.name)
        if len(names) == 1 and len(inner := Walk(root / names[0]).classes()) > 1:
            _refuse_splits(sorted(inner, key=natural_key), f"{called or root.name}/{names[0]}")
        class_to_idx = imagenet_classes().class_to_idx if order == "imagenet" else None
    if class_to_idx is not None and (unknown := [name for name in names if name not in class_to_idx]):
        raise BadInput(f"{root}/{unknown[0]} is none of the {len(class_to_idx)} classes: remove or rename the folder.")
    paths = {name: sorted(walk.images(name), key=natural_key) for name in names}
    for name, some in paths.items():
        _refuse_other_encodings(root, some)
        _refuse_other_synsets(root, name, some)
    full, empty = [name for name in names if paths[name]], [name for name in names if not paths[name]]
    if empty and on_error == "fail" and full:
        raise BadInput(f"{root}/{empty[0]} holds no image: remove the folder, or set on_error: skip.")
    if not full:
        kinds = ", ".join(sorted(EXTENSIONS))
        raise BadInput(f"{root} holds no images ({kinds}) in its {len(names)} class folders{_archives(walk)}.")
    numbers = numbered(full, order) if class_to_idx is None else dict(class_to_idx)
    full.sort(key=numbers.__getitem__) if order == "text" else None
    left_out = {"empty_classes": empty, "without_class": [shown(name) for name in sorted(walk.loose)]}
    about: dict[str, Any] = {"kind": "class_folder", "mode": mode} | {what: of for what, of in left_out.items() if of}
    about |= {"class_order": order} if order == "text" else {}
    walked = _walked(walk) | ({"empty_classes": empty} if empty else {})
    labels = [numbers[name] for name in full for _ in paths[name]]
    listed = _Listing(root, [path for name in full for path in paths[name]], labels)
    return ImageFiles(listed, numbers, mode=mode, about=about, walked=walked)


def numbered(names: Iterable[str], order: ClassOrder = "natural") -> dict[str, int]:
    """The number of each class: its rank in natural order, or in the order of its text."""
    return {name: k for k, name in enumerate(sorted(names, key=None if order == "text" else natural_key))}


def numbered_together(raw: Path, folders: Iterable[str], order: ClassOrder = "natural") -> dict[str, int]:
    """One numbering of the classes that have an image in any of the `folders` below `raw`; no other file is looked at.

    Raises:
        BadInput: there is no such folder, it cannot be listed or holds splits; two names differ only by case.
    """
    found: set[str] = set()
    for folder in folders:
        walk = Walk(raw / folder)
        names = sorted(walk.classes(), key=natural_key)
        _refuse_splits(names, folder)
        found.update(name for name in names if any(True for _ in walk.images(name)))
    _refuse_doubles(raw, sorted(found))
    return numbered(found, order)


def label_folder(root: Path, labels: Path, *, mode: str = "RGB", suffix: str = "") -> ImageFiles:
    """Images of `root` in natural order, each with the label image in `labels` of the same path but for the extension,
    and for a `suffix` such as `_mask` before that.

    An image without a label is a sample that cannot be used; a label without an image is counted in `walked`.

    Raises:
        BadInput: there is no such folder, or no image; two label files fit one image, or none any.
    """
    walk, beside = Walk(root), Walk(labels, EXTENSIONS | {"npy"})
    found: dict[str, str] = {}
    for path in _sorted(beside):
        stem = _stem(path)
        if not stem.endswith(suffix):
            beside.pass_over("without_suffix", path)
            continue
        stem = stem.removesuffix(suffix)
        if stem in found:
            raise BadInput(f"{labels}/{found[stem]} and {path} are both labels of {stem}: keep one.")
        found[stem] = path
    paths = _sorted(walk)
    fitting = [found.get(_stem(path), "") for path in paths]
    if not paths:
        raise BadInput(f"{root} holds no images ({', '.join(sorted(EXTENSIONS))}).")
    if not any(fitting):
        passed = [path for _, some in beside.passed.values() for path in some]
        there = ", ".join(shown(path) for path in [*found.values(), *passed][:3])
        raise BadInput(
            f"{labels} has no label for any image of {root}: expected e.g. {shown(_stem(paths[0]) + suffix)}.png for "
            f"{shown(paths[0])}, found {there or 'no label'}; set label_suffix where names of labels have one."
        )
    for path in sorted(set(found.values()) - set(fitting), key=natural_key):
        beside.pass_over("label_without_image", path)
    about = {"kind": "label_folder", "mode": mode}
    walked = _walked(walk, beside) | {"label_files": len(set(filter(None, fitting)))}
    return ImageFiles(_Labelled(root, paths, labels, fitting), mode=mode, about=about, walked=walked)


def _sorted(walk: Walk) -> list[str]:
    paths = sorted(walk.images(""), key=natural_key)
    _refuse_other_encodings(walk.root, paths)
    return paths


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return unicodedata.normalize("NFC", folder + slash + (name.rpartition(".")[0] or name))


def _archives(walk: Walk) -> str:
    count, some = walk.passed.get("archive", (0, []))
    return f", but {count} archives, which are not looked into: unpack {some[0]}" if count else ""


def _walked(*walks: Walk) -> dict[str, Any]:
    passed: dict[str, tuple[int, list[str]]] = {}
    for walk in walks:
        for reason, (count, some) in walk.passed.items():
            before, examples = passed.get(reason, (0, []))
            passed[reason] = before + count, examples + some
    found = {"walked": sum(walk.files for walk in walks)}
    return found | ({"passed_over": summary(passed)} if passed else {})


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


def _refuse_splits(names: Sequence[str], called: str) -> None:
    """Folders such as `train` and `val` would be taken for two classes."""
    said = {name: match for name in names if (match := SPLIT.fullmatch(name)) and (match["train"] or match["held"])}
    known, training = list(said), any(match["train"] for match in said.values())
    if (known and len(known) == len(names)) or (training and len(known) > 1):
        declared = ", ".join(f"{name}: {called}/{name}" for name in known)
        classes = ", ".join([*names[:5], "…"] if len(names) > 5 else names)
        raise BadInput(
            f"{called} holds splits ({', '.join(known)}), no classes: declare `splits: {{{declared}}}` instead of "
            f"root, convert them one by one, or say `classes: [{classes}]` if these are the classes."
        )


def _refuse_other_synsets(root: Path, name: str, paths: Sequence[str]) -> None:
    """A synset in a file's name or in a deeper folder's has to be its class, where that is one."""
    if SYNSET.fullmatch(name):
        for path in paths:
            if other := next((synset for synset in SYNSET.findall(path) if synset != name), ""):
                raise BadInput(f"{root}/{path} is named after {other} and lies in {name}: move or rename it.")
