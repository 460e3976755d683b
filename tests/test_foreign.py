"""What people have in the place of what they need is told by its content, whoever reads it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle  # noqa: TID251  (what people have is one)
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.foreign import archive_kind, foreign
from imgassets.images.header import BadImage
from imgassets.images.judge import inspect
from imgassets.models.checkpoint import read_state
from imgassets.sources.ct_rate import read_table
from imgassets.sources.nested_tar import Tape, walk
from imgassets.sources.npz import open_npz
from imgassets.testing.making import encoded, picture
from imgassets.volumes.nifti import read_nifti
from imgassets.volumes.npz import read_npz


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("a.jpg", b"x")
    else:
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a.jpg"))
    return file.getvalue()


FOREIGN = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "run git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s3--0.jpg\n", "run git annex get"),
    "page": (b"\n<!DOCTYPE HTML><html><body>404</body></html>", "a web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "gzip": (gzip.compress(b"x" * 900), "gunzip"),
    "bzip2": (bz2.compress(b"x" * 900), "bunzip2"),
    "xz": (lzma.compress(b"x" * 900), "unxz"),
    "tar": (archive("tar"), "a tar archive"),
    "zip": (archive("zip"), "a zip archive"),
    "pickle": (pickle.dumps({"data": [1, 2]}), "is a pickle"),
    "zeros": (bytes(1000), "begins with zeros"),
}


def _walked(path: Path) -> None:
    with Tape(path) as tape:
        list(walk(tape.read, 0, tape.size, path.name))


READERS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "image.jpg": (lambda path: inspect(path.read_bytes()), set()),
    "archive.tar": (_walked, {"tar", "zeros"}),
    "batch.npz": (open_npz, {"zip"}),
    "volume.nii": (read_nifti, {"gzip"}),
    "volume.npz": (read_npz, {"zip"}),
    "weights.pth": (read_state, {"zip", "pickle"}),
    "weights.safetensors": (read_state, set()),
    "table.csv": (lambda path: read_table(path, path.name, []), set()),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", FOREIGN)
def test_readers_tell_what_lies_there(tmp_path: Path, what: str, name: str) -> None:
    (data, told), (read, own) = FOREIGN[what], READERS[name]
    (tmp_path / name).write_bytes(data + b"\n" * 600)
    with pytest.raises((BadInput, BadImage)) as caught:
        read(tmp_path / name)
    assert what in own or told in str(caught.value)


@given(st.binary(max_size=600))
def test_any_bytes_may_be_asked_about(data: bytes) -> None:
    assert foreign(data).startswith(("is ", "begins ")) or not foreign(data)
    assert bool(archive_kind(data)) <= bool(foreign(data))


def test_images_and_arrays_are_nothing_foreign() -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for data in (*(encoded(picture(1, 9, 8), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF")), array.getvalue()):
        assert not foreign(data)
