"""What a file, a folder, an archive or somebody else's store is, by its names and first bytes; loads no library."""

from __future__ import annotations

import json
import math
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgassets.foreign import HEAD
from imgassets.operations.kinds import (
    CHECKPOINT,
    EXPORT,
    OPEN,
    RECORDS,
    VOLUME,
    WEIGHTS,
    Recognized,
    file_kind,
    is_image,
)

LOOKED_AT = 200
"""Files of a folder that are looked into before it is said to have no image."""
SHOWN = 5
BATCH = re.compile(r"train_data_batch_(\d+)\.npz")
SYNSET = re.compile(r"n\d{8}")
SPLITS = re.compile(r"(train|val|test|dev|eval)(ing|id|idation)?([-_ ]?(set|split|data|images|\d{4}))?", re.IGNORECASE)


def recognize(path: Path) -> Recognized:
    """What lies at a path that exists."""
    if not path.is_dir():
        return file_kind(path)
    names = sorted(os.listdir(path))
    looks: Sequence[Callable[[Path, list[str]], Recognized | None]] = (
        *(_ours, _batches, _archives, _ct_repository, _records, _foreign_store, _shards, _weights, _images),
    )
    found = next(filter(None, (look(path, names) for look in looks)), None)
    if found:
        return found
    if not names:
        return Recognized("an empty folder")
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return Recognized(f"a folder without images: {shown}")


def _ours(path: Path, names: list[str]) -> Recognized | None:
    if ".imgassets.json" in names:
        return Recognized("an artifact of a vault", advice=OPEN, reported=True)
    if (path / "metadata" / "metadata.json").is_file():
        return Recognized("a store of the conversion guide's library", advice=OPEN, reported=True)
    return None


def _batches(path: Path, names: list[str]) -> Recognized | None:
    batches = [name for name in names if BATCH.fullmatch(name) or name == "val_data.npz"]
    if not batches:
        return Recognized("a folder of NPZ files", reported=True) if any(n.endswith(".npz") for n in names) else None
    numbers = sorted(int(found[1]) for name in batches if (found := BATCH.fullmatch(name)))
    size = next(filter(None, (_resolution(path / name) for name in batches)), None)
    attributes: dict[str, Any] = {"train_batches": numbers} if numbers != list(range(1, 11)) else {}
    attributes |= {"val": False} if "val_data.npz" not in names else {}
    attributes |= {"resolution": size} if size not in (None, 64) else {}
    return Recognized(
        f"downsampled ImageNet in {len(batches)} NPZ batches" + (f", images of {size}×{size}" if size else ""),
        *("NpzImages", attributes, "root"),
        reported=True,
        resolution=size,
    )


def _resolution(path: Path) -> int | None:
    """Of a batch, told from the header of its `data`."""
    with suppress(OSError, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError):
        with zipfile.ZipFile(path) as archive, archive.open("data.npy") as member:
            found = re.search(rb"'shape': \(\d+, (\d+)\)", member.read(HEAD))
        if found and int(found[1]) % 3 == 0:
            side = math.isqrt(int(found[1]) // 3)
            return side if 3 * side * side == int(found[1]) else None
    return None


def _archives(path: Path, names: list[str]) -> Recognized | None:
    tars = {"train": "ILSVRC2012_img_train.tar", "validation": "ILSVRC2012_img_val.tar"}
    splits = [split for split, name in tars.items() if name in names]
    if not splits:
        return None
    labels = {"synset_labels.txt", "ILSVRC2012_validation_ground_truth.txt"}
    advice = (
        "" if splits == ["train"] or labels & set(names) else f"put the labels beside it: {' or '.join(sorted(labels))}"
    )
    attributes = {} if len(splits) == 2 else {"splits": splits}
    return Recognized(f"ILSVRC2012 as downloaded: {', '.join(splits)}", "IlsvrcTars", attributes, "root", advice=advice)


def _ct_repository(path: Path, names: list[str]) -> Recognized | None:
    data = path / "dataset"
    if "dataset" not in names or not (data / "metadata").is_dir():
        return None
    below = [name for name in sorted(os.listdir(data)) if (data / name).is_dir()]
    for pattern in ("{split}_fixed", "{split}"):
        splits = [split for split in ("train", "valid") if pattern.format(split=split) in below]
        if splits:
            attributes: dict[str, Any] = {} if splits == ["train", "valid"] else {"splits": splits}
            attributes |= {} if "fixed" in pattern else {"folder": f"dataset/{pattern}"}
            return Recognized(f"CT-RATE: {', '.join(splits)}", "CtVolumes", attributes, "repository")
    return None


def _records(path: Path, names: list[str]) -> Recognized | None:
    records = [name for name in names if RECORDS.fullmatch(name) and (path / name).is_file()]
    if not records:
        return None
    return Recognized(f"{len(records)} TFRecord shards", advice='imgassets.open_store(path, split="train") reads them')


def _foreign_store(path: Path, names: list[str]) -> Recognized | None:
    held = set(names)
    index = _json(path / "index.json") if "index.json" in held else {}
    suffixes = {Path(name).suffix for name in names}
    saved = "dataset_info.json" in held
    known = (
        (
            "a data set that `save_to_disk` of Hugging Face `datasets` wrote",
            saved and "state.json" in held,
        ),
        ("splits that `save_to_disk` of Hugging Face `datasets` wrote", "dataset_dict.json" in held),
        ("a data set of TensorFlow Datasets", saved and "features.json" in held),
        ("a data set of MosaicML streaming (MDS)", "shards" in index),
        ("a data set of litdata", "chunks" in index),
        ("a Zarr store", bool({"zarr.json", ".zgroup", ".zarray"} & held)),
        ("a Lance data set", "_versions" in held),
        ("an LMDB database", "data.mdb" in held),
        ("FFCV files", ".beton" in suffixes),
        ("ArrayRecord files", ".array_record" in suffixes or ".arrayrecord" in suffixes),
        ("Parquet files", ".parquet" in suffixes),
        ("Arrow files", ".arrow" in suffixes),
        ("a folder of DICOM slices", "DICOMDIR" in held),
    )
    return next((Recognized(what, advice=EXPORT) for what, is_it in known if is_it), None)


def _json(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size < 1 << 24 and isinstance(found := json.loads(path.read_bytes()), dict):
            return found
    return {}


def _shards(path: Path, names: list[str]) -> Recognized | None:
    """Tar shards, here or in a folder for each split."""
    splits = [name for name in names if SPLITS.fullmatch(name) and (path / name).is_dir()]
    groups = {split: sorted((path / split).glob("*.tar")) for split in splits} or {"": sorted(path.glob("*.tar"))}
    groups = {split: tars for split, tars in groups.items() if tars}
    if not groups:
        return None
    first = next(iter(groups.values()))
    members = _members(first[0])
    what = f"{sum(map(len, groups.values()))} tar files ({', '.join(members[:SHOWN])}, …)"
    if any(name.endswith(VOLUME) for name in members):
        pattern = "{split}/*.tar" if "" not in groups else "*.tar"
        attributes = {"source": "webdataset", "splits": list(groups) if "" not in groups else ["train"]}
        return Recognized(f"CT volumes in {what}", "CtVolumes", attributes, f"repository/{pattern}")
    return Recognized(what, advice="unpack them to <class>/<image>, and inspect that folder")


def _members(tar: Path) -> list[str]:
    names: list[str] = []
    with suppress(tarfile.TarError, OSError, EOFError), tarfile.open(tar, "r:") as archive:
        while len(names) < SHOWN and (member := archive.next()):
            names.append(member.name)
    return names


def _weights(path: Path, names: list[str]) -> Recognized | None:
    held = any(name.endswith(WEIGHTS) for name in names)
    return Recognized("weights of a network", advice=CHECKPOINT) if held else None


def _images(path: Path, names: list[str]) -> Recognized | None:
    folders = [name for name in names if not name.startswith(".") and (path / name).is_dir()]
    classes = [name for name in folders if _has_image(path / name)]
    if not classes:
        if not any(is_image(path / name) for name in names[:LOOKED_AT]):
            return None
        return Recognized("a folder of images without classes", advice="put them into a folder for each class")
    labels = next((name for name in ("labels", "masks", "annotations") if name in classes), None)
    if "images" in classes and labels and len(classes) == 2:
        return Recognized(
            f"images and a label image for each, in {labels}/",
            "ImageFolder",
            {"labels": labels},
            "root/images",
            "dense",
        )
    splits = [name for name in classes if SPLITS.fullmatch(name)]
    if not splits and not any(is_image(file) for name in classes for file in _files(path / name)):
        named = ", ".join(classes[:SHOWN])
        return Recognized(f"a folder of folders of images ({named})", advice="inspect each of them")
    if splits and splits == classes and all(_folders(path / name) for name in splits):
        inner = {name for split in splits for name in _folders(path / split)}
        attributes = {"splits": {_split(name): name for name in splits}, **_order(inner)}
        what = f"a folder of images in {len(inner)} classes, of the splits {', '.join(splits)}"
        return Recognized(what, "ImageFolder", attributes, "splits", "folders")
    what = (
        f"a folder of images in {len(classes)} classes ({', '.join(classes[:SHOWN])}{', …' * (len(classes) > SHOWN)})"
    )
    return Recognized(what, "ImageFolder", _order(set(classes)), "root", "folders")


def _split(name: str) -> str:
    lower = name.lower()
    return "train" if lower.startswith("train") else "val" if lower.startswith("val") else lower


def _order(classes: set[str]) -> dict[str, Any]:
    return {"classes": "imagenet"} if classes and all(map(SYNSET.fullmatch, classes)) else {}


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")]


def _files(path: Path) -> list[Path]:
    """The first files right in a folder."""
    return [path / name for name in sorted(os.listdir(path))[:SHOWN]]


def _has_image(path: Path) -> bool:
    return any(map(is_image, _some(path)))


def _some(path: Path) -> Iterator[Path]:
    """The first files below a folder."""
    left = LOOKED_AT
    for place, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files)[:left]:
            yield Path(place, name)
        left -= min(left, len(files))
        if not left:
            return
