"""Whatever door an image comes in by, it meets the same judge: the same verdict, for the same reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from imgassets.components.folder.images import ImageFolder
from imgassets.components.network.folders import FolderReader
from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.formats import imagenet_records
from imgassets.formats.tfrecord import TFRecordFile
from imgassets.images import jpeg_scan
from imgassets.images.header import BadImage
from imgassets.images.judge import inspect
from imgassets.models.resize import find_resize
from imgassets.sources.ilsvrc_index import Ilsvrc, IlsvrcIndex
from imgassets.sources.resized import Resized
from imgassets.sources.tar_files import tar_files
from imgassets.sources.tar_index import SHARD_COLUMNS, TarImages
from imgassets.stores import Store
from imgassets.stores.convert import convert
from imgassets.testing.making import make, write
from tests.images.damaged import DAMAGED, SOUND, corpus
from tests.tars import tar

Verdicts = dict[str, tuple[str, str]]
"""Name -> `SOUND`, `DAMAGED` or `REFUSED`, and the reason."""
REFUSED = "refused"
SYNSET = "n01440764"


@cache
def files() -> dict[str, bytes]:
    """The corpus under names that every door takes for images."""
    return {f"{SYNSET}_{name}.JPEG": data for name, (data, _) in sorted(corpus().items())}


def said(judged: Callable[[], str | None]) -> tuple[str, str]:
    """The verdict of a function that gives a warning or raises."""
    try:
        warning = judged()
    except BadImage as error:
        return REFUSED, str(error)
    return (DAMAGED, warning) if warning else (SOUND, "")


@cache
def wanted() -> Verdicts:
    """What the judge says."""
    return {name: said(lambda data=data: inspect(data).warning) for name, data in files().items()}  # type: ignore[misc]


def of_lists(names: list[str], damaged: Any, refused: Any) -> Verdicts:
    """From what is stored, and two lists of name and reason."""
    found: Verdicts = dict.fromkeys((name.rpartition("/")[2] for name in names), (SOUND, ""))
    for verdict, samples in ((DAMAGED, damaged), (REFUSED, refused)):
        found |= {sample["name"].rpartition("/")[2]: (verdict, sample["reason"]) for sample in samples}
    return found


def of_store(path: Path | None, order: list[str] | None = None) -> Verdicts:
    """From what a store says of itself, whose every row can be read; `order` names samples that have no names."""
    assert path is not None
    store = Store(path)
    assert store.notes["damaged"] == len(store.damaged)
    assert all(image.ndim == 3 for image, _ in (store[row] for row in range(len(store))))
    if order is None:
        return of_lists([store.name(row) for row in range(len(store))], store.damaged, store.skipped)
    return of_lists(
        order, *([{**s, "name": order[s["index"]]} for s in some] for some in (store.damaged, store.skipped))
    )


def index(root: Path) -> tuple[Ilsvrc, IlsvrcIndex]:
    write(root / "ILSVRC2012_img_val.tar", tar(files().items()))
    write(root / "synset_labels.txt", f"{SYNSET}\n".encode() * len(files()))
    source = Ilsvrc(root, ("validation",))
    return source, source.index("validation")


def folder(root: Path) -> Path:
    for name, data in files().items():
        write(root / SYNSET / name, data)
    return root


class Items:
    """A torch dataset of image files as bytes."""

    def __len__(self) -> int:
        return len(files())

    def __getitem__(self, i: int) -> tuple[bytes, int]:
        return list(files().values())[i], 0


class Listed(Items):
    """A folder dataset as torchvision has it."""

    transform = None

    def __init__(self, root: Path) -> None:
        self.samples = [(str(folder(root) / SYNSET / name), 0) for name in files()]


def tar_index(root: Path) -> Verdicts:
    report = index(root)[1].report
    return of_lists(list(files()), report["warnings"], report["damaged"])


def tfrecords(root: Path) -> Verdicts:
    """Records have no warnings: these are the index's."""
    source, found = index(root)
    images = TarImages(source.archive("validation"), found.table.select(SHARD_COLUMNS))
    with (root / "shard").open("wb") as sink:
        written = imagenet_records.write(sink, images).records
    assert written == len(TFRecordFile(root / "shard")) == len(images)
    return of_lists([image.name for image in images], found.report["warnings"], images.left_out)


def store_of_tar(root: Path, size: tuple[int, int] | None) -> Verdicts:
    source, found = index(root)
    images = tar_files(source.archive("validation"), found.table, {SYNSET: 0})
    made = images if size is None else Resized(images, size)
    return of_store(make(root, made, "memmap", on_error="skip", images_per_file=20))


def store_of_folder(root: Path, size: tuple[int, int] | None) -> Verdicts:
    return of_store(convert(folder(root / "in"), root / "out", size=size, on_error="skip", images_per_file=20))


def store_of_bytes(root: Path, size: tuple[int, int] | None) -> Verdicts:
    return of_store(convert(Items(), root / "out", size=size, on_error="skip"), list(files()))


def store_of_dataset(root: Path, size: tuple[int, int] | None) -> Verdicts:
    return of_store(convert(Listed(root / "in"), root / "out", size=size, on_error="skip"))


def activations(root: Path) -> Verdicts:
    """Where the first image that is refused ends the partition."""
    folder(root / "raw" / "in")
    storage = Storage(raw=str(root / "raw"), store=str(root / "store"), state=str(root / "state"))
    reader = FolderReader(ImageFolder(name="in", root="in"), storage, find_resize("lanczos_stretch"), True)
    found: Verdicts = {}
    for row in reader.rows("all")[0]:
        try:
            (batch,) = reader.samples("all", np.array([row]), 1, 16)
        except BadInput as error:
            path, _, reason = str(error).partition(" cannot be used: ")
            found[Path(path).name] = REFUSED, reason.removesuffix("; mend or remove it")
        else:
            found |= of_lists(list(batch.names), [{"name": n, "reason": r} for n, r in batch.damaged.items()], [])
    return found


STORES = (store_of_tar, store_of_folder, store_of_bytes, store_of_dataset)
DOORS: Mapping[str, Callable[[Path], Verdicts]] = {
    **{door.__name__: door for door in (tar_index, tfrecords, activations)},
    **{f"{door.__name__}, kept": lambda root, d=door: d(root, None) for door in STORES},
    **{f"{door.__name__}, resized": lambda root, d=door: d(root, (12, 10)) for door in STORES},
}


@pytest.mark.parametrize("walk", [False, True], ids=["decoded", "walked"])
def test_the_judge_is_right(walk: bool) -> None:
    """Whether a JPEG's codes are walked or it is decoded makes no difference."""
    for name, (data, verdict) in corpus().items():
        found, reason = said(lambda data=data: inspect(data, walk).warning)  # type: ignore[misc]
        assert found == (verdict if verdict in {SOUND, DAMAGED} else REFUSED), f"{name}: {reason}"
        assert verdict in {SOUND, DAMAGED} or verdict in reason, name


@pytest.mark.parametrize("door", DOORS)
def test_every_door_has_the_same_judge(door: str, tmp_path: Path) -> None:
    assert DOORS[door](tmp_path) == wanted()


@pytest.mark.parametrize("door", ["store_of_folder, kept", "store_of_bytes, kept"])
def test_many_files_are_walked(door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("files", "dataset"):
        monkeypatch.setattr(f"imgassets.sources.{module}.MANY", 1)
    monkeypatch.setattr(jpeg_scan, "is_whole", Mock(wraps=jpeg_scan.is_whole))
    assert DOORS[door](tmp_path) == wanted()
    assert jpeg_scan.is_whole.called


@pytest.mark.parametrize("size", [None, (12, 10)])
def test_what_is_refused_fails_a_store_unless_it_may_skip(size: Any, tmp_path: Path) -> None:
    for number, (name, (verdict, reason)) in enumerate(wanted().items()):
        write(tmp_path / f"{number}" / "a" / name, files()[name])
        if verdict == REFUSED:
            with pytest.raises(BadInput) as caught:
                convert(tmp_path / f"{number}", tmp_path / "out", size=size)
            assert f"a/{name} cannot be used: {reason}; mend or remove it" in str(caught.value)
            assert not (tmp_path / "out").exists()
