"""What a file is, by its name and its first bytes; and what is said of anything that was recognized."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgassets.foreign import HEAD, foreign
from imgassets.images.sniff import image_kind

EXPORT = "no component reads it: export its images to <class>/<image>, and inspect that folder"
OPEN = "imgassets.open_store(path) reads it"
CHECKPOINT = "`checkpoint` of a dataset names them: imgassets help Activations"
UNPACK = "unpack it below the raw inputs, in a folder of its own, and inspect that"
WEIGHTS = (".pth", ".ckpt", ".safetensors", ".bin", ".pt")
VOLUME = (".nii.gz", ".nii")
RECORDS = re.compile(r".+-\d{5}-of-\d{5}|.+\.tfrecords?")
MAGIC = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow IPC file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"SQLite format 3\0": "an SQLite database",
    b"\x1f\x8b": "a gzip stream",
}


@dataclass(frozen=True)
class Recognized:
    """What something is, and how YAML declares it."""

    what: str
    component: str = ""
    """Of ours, that reads it; empty where none does."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """But its name and its place."""
    place: str = ""
    """The attribute that names the place: `root`, below the raw inputs; `repository` and `checkpoint` are others."""
    below: str = ""
    """Folder of the raw inputs where such data usually lie."""
    advice: str = ""
    """What to do where there is no component, or beside it."""
    reported: bool = False
    """Whether there is a report that says more."""
    resolution: int | None = None
    """Height and width of the images of NPZ batches."""


def is_image(path: Path) -> bool:
    return bool(image_kind(head_of(path)))


def head_of(path: Path) -> bytes:
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(HEAD)
    return b""


def file_kind(path: Path) -> Recognized:
    manifest = path.parent / ".imgassets" / f"{path.name}.json"
    if manifest.is_file():
        return Recognized("an artifact of a vault", reported=True)
    head, suffix = head_of(path), path.suffix
    if suffix == ".npz":
        return Recognized("an NPZ file", advice=f"`imgassets inspect {path.parent}` tells of its folder", reported=True)
    if suffix in (".npy", ".parquet", ".tar"):
        return Recognized(
            {".npy": "a NumPy array", ".parquet": "a Parquet file", ".tar": "a tar"}[suffix], reported=True
        )
    if kind := image_kind(head):
        return Recognized(f"an image ({kind})", advice="a data set is a folder of them: <class>/<image>")
    if path.name.endswith(WEIGHTS):
        return Recognized(
            "weights of a network", advice="`checkpoint` of a dataset names them: imgassets help Activations"
        )
    if path.name.endswith(VOLUME):
        return Recognized(
            "a NIfTI volume", advice="a data set is a folder in CT-RATE's shape: imgassets help CtVolumes"
        )
    if head[128:132] == b"DICM":
        return Recognized("a DICOM file", advice="convert it to NIfTI, e.g. with dcm2niix")
    if RECORDS.fullmatch(path.name):
        return Recognized("a TFRecord shard", advice=OPEN)
    if suffix == ".beton":
        return Recognized("an FFCV file", advice=EXPORT)
    if not path.stat().st_size:
        return Recognized("an empty file")
    if found := next((what for magic, what in MAGIC.items() if head.startswith(magic)), ""):
        return Recognized(found, advice=UNPACK if "gzip" in found else "")
    if said := foreign(head, text=True):
        return Recognized(said.removeprefix("is "), advice=UNPACK if "archive" in said else "")
    if foreign(head):
        return Recognized("a text")
    return Recognized("a file of no kind that is known here")
