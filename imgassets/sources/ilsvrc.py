"""The ILSVRC2012 archives: which files there are, what their members must be called, and who says their labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign
from imgassets.sources.nested_tar import Member, Tape, walk
from imgassets.sources.walk import is_stray

SYNSET_LABELS = "synset_labels.txt"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
MD5SUMS = "MD5SUMS"


@dataclass(frozen=True)
class Archive:
    """One split's tar as it was published."""

    file: str
    bytes: int
    """Size of the published file, as its download server and several catalogues state it."""
    md5: str
    """Published MD5 (pytorch/vision#1563). A repacked archive has another one."""


ARCHIVES = {
    "train": Archive("ILSVRC2012_img_train.tar", 147_897_477_120, "1d675b47d978889d74fa0da5fadfb00e"),
    "validation": Archive("ILSVRC2012_img_val.tar", 6_744_924_160, "29b22e2961454d5413ddabcf34fc5622"),
}

VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(?P<number>\d{8})(?:_(?P<synset>n\d{8}))?\.", re.IGNORECASE)


@dataclass(frozen=True)
class Expected:
    """What an archive should be, and who says so."""

    md5: str
    source: str
    bytes: int | None = None
    """Size, where it is known: another size is another file, whose MD5 need not be computed."""


def expected(folder: Path, split: str) -> Expected:
    """What `MD5SUMS` beside the archive says of it, else what was published.

    Raises:
        BadInput: `MD5SUMS` has a line that is not `<md5>  <file>`.
    """
    archive, sums = ARCHIVES[split], folder / MD5SUMS
    if sums.exists():
        for number, line in enumerate(_lines(sums), start=1):
            value, _, name = line.partition(" ")
            if len(value) != 32 or not set(value.lower()) <= set("0123456789abcdef"):
                raise BadInput(f"Line {number} of {sums} is {line[:80]!r}, expected an MD5 and a file name.")
            if name.strip().lstrip("*") == archive.file:
                return Expected(value.lower(), MD5SUMS)
    return Expected(archive.md5, "the published release", archive.bytes)


def train_groups(tape: Tape) -> Iterator[tuple[str, Iterator[Member]]]:
    """The synsets of the training archive and the members of each one's tar, in the order they lie in.

    Raises:
        BadInput: the archive or an inner tar is damaged or hostile, holds something else than `<synset>.tar`,
            a synset that is none of the 1000 or comes twice, or an image named after another synset.
    """
    strays: list[Member] = []
    for synset, member in _inner_tars(tape, strays):
        before, strays[:] = tuple(strays), ()
        yield synset, chain(before, _images_of(tape, synset, member))
    if strays:
        raise BadInput(f"{tape.path.name} ends with {strays[0].name!r}: repack the archive without it.")


def present_synsets(folder: Path, splits: Sequence[str]) -> list[str]:
    """The sorted synsets that occur in the training archive or the validation labels, whichever of them are wanted."""
    found: set[str] = set()
    if "train" in splits:
        with Tape(folder / ARCHIVES["train"].file) as tape:
            found |= {synset for synset, _ in _inner_tars(tape, [])}
    if "validation" in splits:
        found |= set(validation_synsets(folder))
    return sorted(found)


def label_files(folder: Path) -> list[Path]:
    """The files that state the validation labels.

    Raises:
        BadInput: there is none.
    """
    found = [path for path in (folder / SYNSET_LABELS, folder / GROUND_TRUTH) if path.exists()]
    if not found:
        raise BadInput(
            f"{folder} holds neither {SYNSET_LABELS} (a synset a line) nor {GROUND_TRUTH} (a devkit id a line): "
            "put one of them beside the validation archive."
        )
    return found


def validation_synsets(folder: Path) -> list[str]:
    """The synset of each validation image, in the order of sorted file names.

    Raises:
        BadInput: there is no such file, a line is out of range, or the two files contradict each other.
    """
    read = {path.name: (_synsets if path.name == SYNSET_LABELS else _devkit_ids)(path) for path in label_files(folder)}
    first, *others = read.values()
    for other in others:
        if first != other:
            place = next((i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), None)
            where = f"in line {place + 1}" if place is not None else f"in length: {len(first)} and {len(other)} lines"
            raise BadInput(f"{' and '.join(read)} in {folder} differ {where}: remove the wrong one.")
    return first


def refuse_contradictions(archive: Path, names: Sequence[str], synsets: Sequence[str]) -> None:
    """Compare sorted names with their lines of the labels: line k is of image `ILSVRC2012_val_<k>`.

    Raises:
        BadInput: a name has the number of another line, or another synset; the first one is named.
    """
    for line, (name, synset) in enumerate(zip(names, synsets, strict=True), start=1):
        said = VALIDATION_NAME.match(name)
        if said and (int(said["number"]) != line or (said["synset"] or synset) != synset):
            raise BadInput(
                f"{archive} holds {name}, to which line {line} of the labels falls ({synset}): its name denies it; "
                "use the archive and the labels of one release, a line for each image."
            )


def _inner_tars(tape: Tape, strays: list[Member]) -> Iterator[tuple[str, Member]]:
    where, known, seen = tape.path.name, set(imagenet_classes().synsets), set[str]()
    for member in walk(tape.read, 0, tape.size, where):
        if is_stray(member.basename):
            strays.append(member)
            continue
        synset = member.basename.removesuffix(".tar")
        if synset == member.basename or synset not in known:
            raise BadInput(
                f"{where} holds {member.name!r}, expected <synset>.tar of one of the 1000 ImageNet "
                "synsets: repack the archive without it."
            )
        if synset in seen:
            raise BadInput(f"{where} holds two tars of {synset} ({member.name!r} is the second); repack the archive.")
        seen.add(synset)
        yield synset, member


def _images_of(tape: Tape, synset: str, tar: Member) -> Iterator[Member]:
    where = f"{tape.path.name}: {tar.name}"
    for member in walk(tape.read, tar.offset, tar.offset + tar.size, where):
        if not member.basename.startswith(f"{synset}_") and not is_stray(member.basename):
            raise BadInput(
                f"{where} holds {member.name!r}, expected only images named {synset}_<number>.JPEG: repack the archive."
            )
        yield member


def _synsets(path: Path) -> list[str]:
    known = set(imagenet_classes().synsets)
    synsets = list(_lines(path))
    for number, synset in enumerate(synsets, start=1):
        if synset not in known:
            raise BadInput(f"Line {number} of {path} is {synset[:40]!r}, expected one of the 1000 ImageNet synsets.")
    return synsets


def _devkit_ids(path: Path) -> list[str]:
    table, ids = imagenet_classes(), list(_lines(path))
    for number, text in enumerate(ids, start=1):
        if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= len(table.synsets)):
            raise BadInput(f"Line {number} of {path} is {text[:40]!r}, expected a devkit id from 1 to 1000.")
    class_ids = table.from_devkit(np.array([int(text) for text in ids], dtype=np.int64))
    return [table.synsets[class_id] for class_id in class_ids]


def _lines(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
        if what := foreign(data[:HEAD], text=True):
            raise BadInput(f"{path} {what}.")
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text: {error}.") from None
    yield from (line.strip() for line in text.rstrip().splitlines())
