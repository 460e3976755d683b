"""A file that has lost its end is told from one that has not, wherever it was cut."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.sources.ends import has_end


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.bin")
        info.size = 5120
        archive.addfile(info, io.BytesIO(b"\x07" * 5120))
    return buffer.getvalue()[: 512 + 5120 + 1024]  # without the padding to a full record


def npz() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.npy", b"\x07" * 5000)
    return buffer.getvalue()


WHOLE = {".tar": tar(), ".npz": npz()}


@pytest.mark.parametrize("suffix", WHOLE)
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_files_have_none(tmp_path_factory: pytest.TempPathFactory, suffix: str, share: float) -> None:
    path = tmp_path_factory.mktemp("ends") / f"file{suffix}"
    path.write_bytes(WHOLE[suffix])
    assert has_end(path)
    path.write_bytes(WHOLE[suffix][: int(share * (len(WHOLE[suffix]) - 30))])
    assert not has_end(path)


def test_what_has_no_mark_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(b"")
    assert has_end(tmp_path / "image.jpg")
