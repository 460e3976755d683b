"""The page of input kinds: a corpus is made and run, and what became of each is the page's table.

`IMGASSETS_WRITE_TABLE=1` writes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imgassets
from imgassets.commit import Manifest
from imgassets.errors import BadInput, ImgassetsError
from imgassets.sample_data.ct_rate import chest
from imgassets.sources.base import Source
from imgassets.sources.folder import class_folder, label_folder
from imgassets.sources.imagenet_npz import open_batch
from imgassets.testing.making import commit, encoded, picture, write
from imgassets.volumes.nifti import read_nifti
from imgassets.volumes.verdict import left_raw, scaled_twice, verdict
from tests.images.damaged import exif
from tests.images.test_pixels import png16, tiff, wide
from tests.sources import test_ilsvrc as ilsvrc
from tests.sources.test_imagenet_npz import HEADERS_TELL, changed
from tests.sources.zips import write as write_npz
from tests.test_foreign import FOREIGN
from tests.volumes.phantom import gz, nifti_bytes
from tests.volumes.test_nifti import BROKEN

PAGE = Path(next(iter(imgassets.__path__))) / "docs" / "inputs.md"
WRITE = "IMGASSETS_WRITE_TABLE"
JPEG, PNG = encoded(picture(1, 20, 30)), encoded(picture(1, 20, 30), "PNG")
SYNSETS = ("n01440764", "n01443537")

IN_A_CLASS: dict[str, tuple[str, bytes]] = {
    "JPEG, of any name: `x.jpg`, `X.JPEG`, `x.jfif`, `x`": ("x.jfif", JPEG),
    "PNG": ("x.png", PNG),
    "PNG that is called `.jpg`": ("x.jpg", PNG),
    "WebP": ("x.webp", encoded(picture(1, 20, 30), "WEBP")),
    "BMP": ("x.bmp", encoded(picture(1, 20, 30), "BMP")),
    "GIF": ("x.gif", encoded(picture(1, 20, 30), "GIF")),
    "TIFF": ("x.tif", encoded(picture(1, 20, 30), "TIFF")),
    "PPM": ("x.ppm", encoded(picture(1, 20, 30), "PPM")),
    "JPEG 2000": ("x.jp2", encoded(picture(1, 20, 30), "JPEG2000")),
    "AVIF": ("x.avif", encoded(picture(1, 20, 30), "AVIF")),
    "HEIC, no decoder installed": ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)),
    "gray JPEG": ("x.jpg", encoded(picture(1, 20, 30, "L"))),
    "CMYK JPEG": ("x.jpg", encoded(picture(1, 20, 30, "CMYK"))),
    "JPEG turned by EXIF": ("x.jpg", encoded(picture(1, 20, 30), exif=exif(6))),
    "PNG with transparency": ("x.png", encoded(picture(1, 20, 30, "RGBA"), "PNG")),
    "animated GIF": (
        "x.gif",
        encoded(picture(1, 9, 9), "GIF", save_all=True, append_images=[picture(2, 9, 9)]),
    ),
    "gray of 16 bits": ("x.png", wide([0, 700, 65535], np.uint16, "PNG")),
    "colours of 16 bits": ("x.png", png16(np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 5000)),
    "fractions from 0 to 1": ("x.tif", wide([0, 0.5, 1], np.float32)),
    "fractions of another range": ("x.tif", wide([-900, 0.5, 3000], np.float32)),
    "integers of 32 bits, 0 to 255": ("x.tif", wide([0, 7, 255], np.int32)),
    "negative integers": ("x.tif", wide([-1000, 7, 255], np.int32)),
    "JPEG that was cut": ("x.jpg", JPEG[: len(JPEG) // 2]),
    "JPEG whose tail is zeros": ("x.jpg", JPEG[: len(JPEG) // 2] + bytes(len(JPEG) - len(JPEG) // 2)),
    "PNG that was cut": ("x.png", PNG[: len(PNG) // 2]),
    "empty file `x.jpg`": ("x.jpg", b""),
    "empty file `notes`": ("notes", b""),
    "text `notes.txt`": ("notes.txt", b"what I saw"),
    "table `labels.csv`": ("labels.csv", b"file,label\nx.jpg,1\n"),
    "hidden file `.x.jpg`": (".x.jpg", JPEG),
    "`Thumbs.db`": ("Thumbs.db", b"x"),
    "`__MACOSX/x.jpg`": ("__MACOSX/x.jpg", b"x"),
    "AppleDouble `._x.jpg`": ("._x.jpg", b"\0\5\x16\7"),
} | {
    f"{called} called `x.jpg`": ("x.jpg", FOREIGN[kind][0])
    for kind, called in {
        "lfs": "pointer of Git LFS",
        "page": "web page",
        "drawing": "SVG drawing",
        "answer": "server's answer in JSON",
        "gzip": "gzip file",
        "zip": "zip archive",
        "pickle": "pickle",
        "zeros": "zeros",
    }.items()
}

FOLDERS: dict[str, Mapping[str, bytes]] = {
    "classes": {"cat/1.jpg": JPEG, "dog/2.jpg": JPEG},
    "images in folders of a class": {"cat/day/1.jpg": JPEG, "dog/2.jpg": JPEG},
    "an image beside the class folders": {"cat/1.jpg": JPEG, "loose.jpg": JPEG},
    "an archive beside the class folders": {"cat/1.jpg": JPEG, "dog.zip": FOREIGN["zip"][0]},
    "archives alone": {"cat.zip": FOREIGN["zip"][0]},
    "images alone": {"1.jpg": JPEG, "2.jpg": JPEG},
    "splits": {"train/cat/1.jpg": JPEG, "val/cat/2.jpg": JPEG},
    "a class without images": {"cat/1.jpg": JPEG, "dog/notes.txt": b"none"},
    "classes whose names differ only by case": {"cat/1.jpg": JPEG, "Cat/2.jpg": JPEG},
    "a file named after another synset": {f"{SYNSETS[0]}/{SYNSETS[1]}_1.JPEG": JPEG},
    "nothing": {},
}

NUMBERS = np.arange(600, dtype=np.uint8).reshape(20, 30) % 7
LABELS: dict[str, tuple[str, bytes]] = {
    "PNG": ("1.png", encoded(Image.fromarray(NUMBERS), "PNG")),
    "PNG of 16 bits": ("1.png", encoded(Image.fromarray(NUMBERS.astype(np.uint16)), "PNG")),
    "palette PNG": ("1.png", encoded(Image.fromarray(NUMBERS).convert("P"), "PNG")),
    "NPY of int32": ("1.npy", b""),
    "TIFF": ("1.tif", encoded(Image.fromarray(NUMBERS), "TIFF")),
    "none": ("other.png", encoded(Image.fromarray(NUMBERS), "PNG")),
    "one of another size": ("1.png", encoded(Image.fromarray(NUMBERS[:9]), "PNG")),
    "JPEG": ("1.jpg", encoded(Image.fromarray(NUMBERS))),
    "TIFF of fractions": ("1.tif", encoded(Image.fromarray(NUMBERS.astype(np.float32)), "TIFF")),
    "TIFF of several pictures": (
        "1.tif",
        encoded(Image.fromarray(NUMBERS), "TIFF", save_all=True, append_images=[Image.fromarray(NUMBERS)]),
    ),
    "PNG of colours of 16 bits": ("1.png", png16(np.zeros((20, 30, 3), np.uint16))),
    "TIFF of signed bytes": ("1.tif", b""),
}

ARRAYS = {
    "`data` (rows, 3·r²) uint8, `labels` 1 to 1000": "",
    "no `labels`": "no labels",
    "`data` of floats": "float data",
    "`data` of four axes": "NCHW",
    "`data` pickled": "pickled data",
    "another resolution": "other resolution",
    "`data` in column order": "column order",
}

CAT = ilsvrc.CAT
MEMBERS: dict[str, list[tuple[str, bytes]]] = {
    "`<synset>.tar` of JPEGs": [(f"{CAT}.tar", ilsvrc.tar(ilsvrc.members(CAT)))],
    "an image that was cut": [(f"{CAT}.tar", ilsvrc.tar([(f"{CAT}_1.JPEG", JPEG[:400])]))],
    "a PNG called `.JPEG`": [(f"{CAT}.tar", ilsvrc.tar([(f"{CAT}_1.JPEG", PNG)]))],
    "AppleDouble `._…`": [(f"{CAT}.tar", ilsvrc.tar([(f"._{CAT}_0.JPEG", b"x"), *ilsvrc.members(CAT)]))],
    "an image of another synset": [(f"{CAT}.tar", ilsvrc.tar([(f"{ilsvrc.DOG}_1.JPEG", JPEG)]))],
    "a tar of no synset": [("cats.tar", ilsvrc.tar([]))],
    "two images of one name": [(f"{CAT}.tar", ilsvrc.tar([(f"a/{CAT}_1.JPEG", JPEG), (f"b/{CAT}_1.JPEG", JPEG)]))],
}

BODY = chest((40, 36, 24), 1)
VOLUMES: dict[str, bytes] = {
    "NIfTI-1 of HU": gz(nifti_bytes(BODY)),
    "NIfTI-1 of raw values, header scaling −1024": gz(nifti_bytes(BODY + 1024, intercept=-1024)),
    "raw values, header scaling 1 and 0, and −1024 in the table": gz(nifti_bytes(BODY + 1024)),
    "HU under header scaling −1024": gz(nifti_bytes(BODY, intercept=-1024)),
    "HU under header scaling −8192": gz(nifti_bytes(BODY, intercept=-8192)),
    "one value everywhere": gz(nifti_bytes(np.full_like(BODY, 40))),
    "voxels that are not finite": gz(nifti_bytes(np.where(BODY > 30, np.nan, BODY).astype(np.float32))),
} | {
    called: BROKEN[kind][0]()
    for kind, called in {
        "cut in the middle": "file that was cut",
        "not gzip": "web page called `.nii.gz`",
        "four dims": "four axes",
        "spacing 0": "spacing of 0 mm",
        "type": "voxels of RGB",
    }.items()
}


def become(manifest: Manifest, name: str, row: str = "a row") -> str:
    """What a file became, by the manifest of the store that was made of it and of a sound image."""
    for exception in manifest.exceptions:
        if name in str(exception["name"]):
            return f"exception: {exception['reason']}"
    for reason, of in manifest.facts.get("passed_over", {}).items():
        if any(name in example for example in of["examples"]):
            return f"counted as `{reason}`"
    notes = [f"`{note}`" for note in sorted(manifest.facts.get("notes", {}))]
    return f"{row}, noted as {', '.join(notes)}" if notes else row


def stored(tmp_path: Path, source: Callable[[], Source], *, on_error: str = "skip") -> Manifest | str:
    """The manifest of a store of it, or why there is none."""
    try:
        return commit(tmp_path, source(), "ipc", on_error=on_error).manifest
    except ImgassetsError as error:
        return refused(error, tmp_path)


def refused(error: ImgassetsError, tmp_path: Path) -> str:
    return f"refused: {str(error).replace(str(tmp_path), '…')}"


def in_a_class(tmp_path: Path, name: str, data: bytes) -> str:
    write(tmp_path / "raw" / "cat" / "sound.jpg", JPEG)
    write(tmp_path / "raw" / "cat" / name, data)
    found = stored(tmp_path, lambda: class_folder(tmp_path / "raw"))
    return found if isinstance(found, str) else become(found, f"cat/{name}".removesuffix("/x.jpg"))


def of_a_folder(tmp_path: Path, files: Mapping[str, bytes]) -> str:
    (tmp_path / "raw").mkdir()
    for name, data in files.items():
        write(tmp_path / "raw" / name, data)
    found = stored(tmp_path, lambda: class_folder(tmp_path / "raw"), on_error="fail")
    if isinstance(found, str):
        return found
    passed = [f"{of['count']} counted as `{reason}`" for reason, of in found.facts.get("passed_over", {}).items()]
    return ", ".join([rows(found.facts["rows"]), *passed])


def rows(count: int) -> str:
    return f"{count} row{'s' * (count > 1)}"


def of_a_label(tmp_path: Path, name: str, data: bytes) -> str:
    write(tmp_path / "images" / "0.jpg", JPEG)
    write(tmp_path / "images" / "1.jpg", JPEG)
    write(tmp_path / "labels" / "0.png", LABELS["PNG"][1])
    if name.endswith("npy"):
        np.save(tmp_path / "labels" / name, NUMBERS.astype(np.int32))
    else:
        write(tmp_path / "labels" / name, data or tiff(NUMBERS.astype(np.int8)))
    found = stored(tmp_path, lambda: label_folder(tmp_path / "images", tmp_path / "labels"))
    return found if isinstance(found, str) else become(found, "1.jpg", "a row with that label")


def of_arrays(tmp_path: Path, kind: str) -> str:
    path = tmp_path / "train_data_batch_1.npz"
    write_npz(path, changed(**(HEADERS_TELL[kind][0] if kind else {})))
    try:
        return rows(open_batch(path, resolution=16).rows)
    except BadInput as error:
        return refused(error, tmp_path)


def of_members(tmp_path: Path, inner: list[tuple[str, bytes]]) -> str:
    try:
        found = ilsvrc.index(ilsvrc.train(tmp_path, *inner))
    except BadInput as error:
        return refused(error, tmp_path)
    listed = [f"a row, listed: {item['reason']}" for item in found.report["damaged"]]
    passed = [f"1 counted: {item['reason']}" for item in found.report["strays"]]
    return ", ".join([*(listed or [rows(len(found.table))]), *passed])


def of_a_volume(tmp_path: Path, data: bytes) -> str:
    path = write(tmp_path / "train_1_a_1.nii.gz", data)
    try:
        volume = read_nifti(path)
        reason = verdict(volume) or left_raw(volume, (1.0, -1024.0)) or scaled_twice(volume)
    except BadInput as error:
        reason = str(error).replace(str(tmp_path), "…")
    return f"left out: {reason}" if reason else "a sample"


SECTIONS: dict[str, tuple[str, Mapping[str, Callable[[Path], str]]]] = {
    "a file in a class folder": (
        "it becomes",
        {k: lambda path, v=v: in_a_class(path, *v) for k, v in IN_A_CLASS.items()},  # type: ignore[misc]
    ),
    "a folder of": (
        "it becomes",
        {k: lambda path, v=v: of_a_folder(path, v) for k, v in FOLDERS.items()},  # type: ignore[misc]
    ),
    "the label of an image": (
        "the image becomes",
        {k: lambda path, v=v: of_a_label(path, *v) for k, v in LABELS.items()},  # type: ignore[misc]
    ),
    "an NPZ batch with": (
        "it becomes",
        {k: lambda path, v=v: of_arrays(path, v) for k, v in ARRAYS.items()},  # type: ignore[misc]
    ),
    "a training archive of ILSVRC with": (
        "it becomes",
        {k: lambda path, v=v: of_members(path, v) for k, v in MEMBERS.items()},  # type: ignore[misc]
    ),
    "a CT volume": (
        "it becomes",
        {k: lambda path, v=v: of_a_volume(path, v) for k, v in VOLUMES.items()},  # type: ignore[misc]
    ),
}


def table(section: str, found: Mapping[str, str]) -> str:
    head = f"| {section} | {SECTIONS[section][0]} |\n|---|---|\n"
    return head + "".join(f"| {kind} | {said} |\n" for kind, said in found.items())


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_says_what_becomes_of_each_kind(section: str, tmp_path: Path) -> None:
    found = {}
    for number, (kind, make) in enumerate(SECTIONS[section][1].items()):
        place = tmp_path / str(number)
        place.mkdir()
        found[kind] = make(place)
        assert not {"\n", "|"} & set(found[kind])
    new, page = table(section, found), PAGE.read_text(encoding="utf-8")
    if os.environ.get(WRITE):
        old = re.search(rf"\| {re.escape(section)} \|.*?\n(?=\n|\Z)", page, re.DOTALL)
        assert old, f"{PAGE} has no table of {section!r}"
        PAGE.write_text(page[: old.start()] + new + page[old.end() :], encoding="utf-8")
    else:
        assert new in page, f"{PAGE} says something else; {WRITE}=1 writes it"
