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
from imgassets.sources.ct_rate import read_list, read_table
from imgassets.sources.ilsvrc import validation_synsets
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
    "comment": (b"<!-- saved from url=(0014)about:internet -->\n<HTML>", "a web page"),
    "drawing": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "answer": (b'{"error":"Invalid credentials in Authorization header"}', "is text where none belongs"),
    "words": (b"Entry not found\n", "is text where none belongs ('Entry not found')"),
    "gzip": (gzip.compress(b"x" * 900), "gunzip"),
    "bzip2": (bz2.compress(b"x" * 900), "bunzip2"),
    "xz": (lzma.compress(b"x" * 900), "unxz"),
    "tar": (archive("tar"), "a tar archive"),
    "zip": (archive("zip"), "a zip archive"),
    "pickle": (pickle.dumps({"data": [1, 2]}), "is a pickle"),
    "old pickle": (pickle.dumps({"data": [1, 2]}, protocol=0), "is a pickle"),
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
    "list.txt": (read_list, {"words", "answer"}),
    "synset_labels.txt": (lambda path: validation_synsets(path.parent), {"words", "answer"}),
    "volume.npz": (read_npz, {"zip"}),
    "weights.pth": (read_state, {"zip", "pickle"}),
    "weights.safetensors": (read_state, set()),
    "table.csv": (lambda path: read_table(path, path.name, []), {"words", "answer"}),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", FOREIGN)
def test_readers_tell_what_lies_there(tmp_path: Path, what: str, name: str) -> None:
    (data, told), (read, own) = FOREIGN[what], READERS[name]
    (tmp_path / name).write_bytes(data + b"\n" * 600)
    with pytest.raises((BadInput, BadImage)) as caught:
        read(tmp_path / name)
    assert what in own or told in str(caught.value)


def test_what_is_shorter_than_a_header_or_within_a_gzip_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(FOREIGN["lfs"][0])
    with pytest.raises(BadInput, match="it is a pointer of Git LFS"):
        _walked(tmp_path / "a.tar")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(archive("tar")))
    with pytest.raises(BadInput, match="it is a tar archive"):
        read_nifti(tmp_path / "a.nii.gz")


@given(st.text(min_size=1, max_size=600).filter(lambda text: text.isprintable() and text.strip()), st.integers(0, 3))
def test_text_is_told_wherever_its_bytes_end(text: str, cut: int) -> None:
    data = text.encode()
    assert foreign(data[: len(data) - cut]) or not data[: len(data) - cut].decode(errors="ignore").strip()


@given(st.binary(max_size=600))
def test_any_bytes_may_be_asked_about(data: bytes) -> None:
    assert foreign(data).startswith(("is ", "begins ")) or not foreign(data)
    assert bool(archive_kind(data)) <= bool(foreign(data))


def test_images_and_arrays_are_nothing_foreign() -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for data in (*(encoded(picture(1, 9, 8), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF")), array.getvalue()):
        assert not foreign(data)
