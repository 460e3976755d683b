from __future__ import annotations

import errno
import io
import os
import signal
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets.errors import LIMIT, BadInput
from imgassets.sources.npz import NpzFile, Stream, open_npz
from imgassets.sources.zip_directory import RATIO_FLOOR
from tests.sources.zips import Part, batch_parts, npy, npy_header, write, zip_bytes


def content(npz: NpzFile, name: str) -> bytes:
    with npz.reading() as fd:
        out = bytearray(npz.entries[name].bytes)
        Stream(npz.path, fd, npz.entries[name]).readinto(memoryview(out))
    return bytes(out)


def sound(**changes: Any) -> list[Part]:
    """One small member, `a.npy`, with fields of Part overwritten."""
    fields: dict[str, Any] = {"name": "a.npy", "content": npy(np.arange(100, dtype=np.uint8))}
    return [Part(**fields | changes)]


def zip64(size: int) -> bytes:
    """The extra field that holds both sizes where they do not fit in 32 bits."""
    return struct.pack("<HHQQ", 1, 16, size, size)


LONG = {"size": 250, "packed": 250}
BOMB = Part("a.npy", npy(np.zeros(2 * RATIO_FLOOR, np.uint8)), deflated=True)
HUGE = {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "is empty"),
    "not a zip": (lambda: b"<html>404</html>" * 9, "not an NPZ"),
    "a lone npy": (lambda: npy(np.arange(9)), "not an NPZ"),
    "only the magic": (lambda: b"PK\3\4", "cut short"),
    "no directory": (lambda: zip_bytes(sound())[:-90], "cut short"),
    "an end record that lies": (lambda: b"PK\5\6" + bytes(6) + b"\1\0" + b"\xff\0\0\0" * 2 + bytes(2), "cut"),
    "junk in front": (lambda: zip_bytes(sound(), prefix=b"junk"), "not an NPZ"),
    "a second zip in front": (lambda: zip_bytes(sound()) + zip_bytes(sound()), "before its first member"),
    "junk behind": (lambda: zip_bytes(sound(), suffix=b"junk"), "after the end"),
    "junk behind a comment": (lambda: zip_bytes(sound(), comment=b"hello", suffix=b"junk"), "after the end|cut short"),
    "directory of 2 MiB": (lambda: zip_bytes([Part(f"{i:0>60000}", b"") for i in range(36)]), "1 MiB"),
    "two of one name": (lambda: zip_bytes(sound() + sound()), "two members"),
    "two entries, one content": (lambda: zip_bytes([*sound(), *sound(central={"offset": 0})]), "reaches into"),
    "members that overlap": (lambda: zip_bytes([*sound(central=LONG, local=LONG), *sound()]), "reaches into"),
    "more members declared": (lambda: zip_bytes(sound()).replace(b"\1\0\1\0", b"\1\0\2\0"), "as many members"),
    "zip64 count without its record": (lambda: zip_bytes(sound()).replace(b"\1\0\1\0", b"\xff" * 4), "as many members"),
    "encrypted": (lambda: zip_bytes(sound(local={"flags": 1}, central={"flags": 1})), "encrypted"),
    "strongly encrypted": (lambda: zip_bytes(sound(local={"flags": 65}, central={"flags": 65})), "encrypted"),
    "encrypted in the local header only": (lambda: zip_bytes(sound(local={"flags": 1})), "disagree"),
    "patch data": (lambda: zip_bytes(sound(local={"flags": 32}, central={"flags": 32})), "method"),
    "bzip2": (lambda: zip_bytes(sound(local={"method": 12}, central={"method": 12})), "method 12"),
    "lzma": (lambda: zip_bytes(sound(local={"method": 14}, central={"method": 14})), "method 14"),
    "zstandard": (lambda: zip_bytes(sound(local={"method": 93}, central={"method": 93})), "method 93"),
    "stored of two sizes": (lambda: zip_bytes(sound(central={"size": 9})), "two sizes differ"),
    "70 GiB declared": (lambda: zip_bytes(sound(central=HUGE, central_extra=zip64(70 << 30))), "more than the limit"),
    "bomb": (lambda: zip_bytes([BOMB]), "bomb"),
    "another name locally": (lambda: zip_bytes(sound(local={"name": b"b.npy"})), "disagree"),
    "another method locally": (lambda: zip_bytes(sound(local={"method": 8})), "disagree"),
    "another size locally": (lambda: zip_bytes(sound(local={"size": 1})), "disagree"),
    "another packed size locally": (lambda: zip_bytes(sound(local={"packed": 1})), "disagree"),
    "another CRC locally": (lambda: zip_bytes(sound(local={"crc": 1})), "disagree"),
    "no sizes locally": (lambda: zip_bytes(sound(local={"size": 0, "packed": 0, "crc": 0})), "disagree"),
    "zip64 sizes missing locally": (lambda: zip_bytes(sound(local=HUGE)), "disagree"),
    "zip64 sizes differ locally": (lambda: zip_bytes(sound(local=HUGE, extra=zip64(9))), "disagree"),
    "no local header there": (lambda: zip_bytes(sound(central={"offset": 5})), "not where"),
    "local header beyond the file": (lambda: zip_bytes(sound(central={"offset": 1 << 31})), "not where|cut short"),
    "content into the directory": (
        lambda: zip_bytes(sound(local={"size": 250, "packed": 250}, central={"size": 250, "packed": 250})),
        "reaches into",
    ),
    **{
        f"name {name!r}": (lambda name=name: zip_bytes(sound(name=name)), "leave its folder")
        for name in ("../a.npy", "/a.npy", "a/../../b.npy", "..", "a\\..\\b.npy", "C:a.npy", "a\0b.npy", "a\nb", "")
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses(kind: str, tmp_path: Path) -> None:
    build, words = REFUSED[kind]
    path = tmp_path / "bad.npz"
    path.write_bytes(build())
    tracemalloc.start()
    with pytest.raises(BadInput, match=words) as caught:
        open_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) <= LIMIT
    assert peak < 5 << 20


BAD_HEADERS: dict[str, tuple[bytes, str]] = {
    "not npy": (b"hello" * 40, "readable .npy header"),
    "too short": (b"\x93NUM", "readable .npy header"),
    "empty member": (b"", "readable .npy header"),
    "unknown version": (npy_header("(4,)", version=9) + bytes(4), "readable .npy header"),
    "header beyond the member": (npy_header("(4,)")[:20], "readable .npy header"),
    "header of 4 GiB": (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(20_000), "readable .npy header"),
    "header of 20 KB": (npy_header("(4,)" + " " * 20_000) + bytes(4), "readable .npy header"),
    "no literal": (npy_header("__import__('os').abort()"), "readable .npy header"),
    "nested too deep": (npy_header("(" * 4000 + ")" * 4000), "readable .npy header"),
    "negative shape": (npy_header("(-4,)") + bytes(4), "impossible shape"),
    "astronomic shape": (npy_header("(" + "9" * 4000 + ", " + "9" * 4000 + ")") + bytes(4), "impossible shape"),
    "more than it holds": (npy_header("(1048576, 12288)") + bytes(100), "12,884,901,888 bytes, but holds 100"),
    "less than it holds": (npy_header("(4,)") + bytes(5), "4 bytes, but holds 5"),
    "pickle": (npy(np.array([{}, 1], object)), "pickled Python objects"),
    "pickle inside a record": (npy_header("(1,)", "[('a', '|O'), ('b', '<i4')]") + bytes(12), "pickled Python objects"),
    "unknown dtype": (npy_header("(4,)", "'|zz'") + bytes(4), "readable .npy header"),
}


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_refuses_npy_headers(kind: str, deflated: bool, tmp_path: Path) -> None:
    member, words = BAD_HEADERS[kind]
    npz = open_npz(write(tmp_path / "bad.npz", sound(content=member, deflated=deflated)))
    with pytest.raises(BadInput, match=words) as caught:
        npz.npy("a.npy")
    assert str(npz.path) in str(caught.value)
    assert "a.npy" in str(caught.value)
    assert len(str(caught.value)) <= LIMIT


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "owned").touch, ()

    path = tmp_path / "evil.npz"
    np.savez(path, a=np.array([Evil()], object))
    with pytest.raises(BadInput, match="pickled"):
        open_npz(path).npy("a.npy")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("make", ["folder", "fifo", "device", "nothing", "loop", "nul"])
def test_refuses_what_is_no_file(make: str, tmp_path: Path) -> None:
    path = tmp_path / "train_data_batch_1.npz"
    if make == "folder":
        path.mkdir()
    elif make == "fifo":
        os.mkfifo(path)
    elif make == "device":
        path = Path("/dev/null")
    elif make == "loop":
        path.symlink_to(path)
    elif make == "nul":
        path = Path(f"{path}\0")
    signal.alarm(10)  # a FIFO nobody writes to must not be waited for
    try:
        with pytest.raises(BadInput, match=r"folder|regular file|opened"):
            open_npz(path)
    finally:
        signal.alarm(0)


def test_links_of_the_user_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "real.npz", sound())
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    assert open_npz(tmp_path / "link.npz").entries.keys() == {"a.npy"}


@pytest.mark.parametrize("deflated", [False, True])
def test_reads_what_numpy_writes(deflated: bool, tmp_path: Path) -> None:
    arrays = {"a": np.arange(100_000), "b": np.zeros((3, 0)), "c": np.array(2.5), "d": np.asfortranarray(np.eye(3))}
    (np.savez_compressed if deflated else np.savez)(tmp_path / "x.npz", **arrays)
    npz = open_npz(tmp_path / "x.npz")
    whole = (tmp_path / "x.npz").read_bytes()
    for key, array in arrays.items():
        member = npz.npy(f"{key}.npy")
        assert (member.dtype, member.shape, member.stored) == (array.dtype, array.shape, not deflated)
        assert member.fortran_order == (key == "d")
        assert member.crc == zlib.crc32(content(npz, f"{key}.npy"))
        np.testing.assert_array_equal(np.load(io.BytesIO(content(npz, f"{key}.npy"))), array)
        if not deflated:
            assert member.data_offset is not None
            assert whole[member.data_offset :].startswith(array.tobytes("A"))
        else:
            assert member.data_offset is None


def test_local_extra_field_moves_the_content(tmp_path: Path) -> None:
    part = sound(extra=struct.pack("<HH40x", 0xFFFF, 40))[0]
    assert content(open_npz(write(tmp_path / "x.npz", [part])), "a.npy") == part.content


def test_zip64_local_sizes_are_read(tmp_path: Path) -> None:
    part = sound()[0]
    part.local, part.extra = HUGE, zip64(len(part.content))
    assert content(open_npz(write(tmp_path / "x.npz", [part])), "a.npy") == part.content


def test_zip64_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = sound() + sound(name="b.npy")
    with monkeypatch.context() as patch, zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)  # everything is "large": zip64 fields and end record
        for part in parts:
            archive.writestr(str(part.name), part.content)
        archive.close()
    assert b"PK\6\6" in (tmp_path / "x.npz").read_bytes()
    npz = open_npz(tmp_path / "x.npz")
    assert [content(npz, name) for name in npz.entries] == [part.content for part in parts]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sizes_behind_the_content_are_accepted(method: int, tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.bytes = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.bytes += data
            return len(data)

    pipe, part = Pipe(), sound()[0]
    with zipfile.ZipFile(pipe, "w", method) as archive:
        archive.writestr(str(part.name), part.content)
    (tmp_path / "x.npz").write_bytes(pipe.bytes)
    assert content(open_npz(tmp_path / "x.npz"), "a.npy") == part.content


def test_small_members_may_have_any_ratio_and_limits_can_be_set(tmp_path: Path) -> None:
    small = write(tmp_path / "small.npz", sound(content=npy(np.zeros(1 << 20, np.uint8)), deflated=True))
    assert open_npz(small).entries["a.npy"].packed_bytes < 1 << 12
    with pytest.raises(BadInput, match="more than the limit of 1,000"):
        open_npz(small, max_bytes=1000)
    bomb = write(tmp_path / "bomb.npz", [BOMB])
    assert open_npz(bomb, max_ratio=2000).entries["a.npy"].bytes > RATIO_FLOOR


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


A = npy(np.arange(50_000) % 251)
BAD_CONTENT: dict[str, tuple[dict[str, Any], str]] = {
    "stored, bit flipped": ({"packed": A[:-1] + bytes([A[-1] ^ 1])}, "CRC-32"),
    "inflates to less": ({"packed": deflate(A[:-1])}, "inflates to fewer"),
    "inflates to more": ({"packed": deflate(A + b"x")}, "inflates to more"),
    "inflates to something else": ({"packed": deflate(A[:-1] + b"x")}, "CRC-32"),
    "cut in the stream": ({"packed": deflate(A)[:-9]}, "middle of its deflate stream"),
    "bytes behind the stream": ({"packed": deflate(A) + b"junk"}, "after the end of its deflate"),
    "no deflate stream": ({"packed": b"\xff" * 4000}, "cannot be inflated"),
    "nothing packed": ({"packed": b""}, "middle of its deflate stream"),
}


@pytest.mark.parametrize("kind", BAD_CONTENT)
def test_refuses_damaged_content(kind: str, tmp_path: Path) -> None:
    fields, words = BAD_CONTENT[kind]
    deflated = not kind.startswith("stored")
    npz = open_npz(write(tmp_path / "bad.npz", sound(content=A, deflated=deflated, **fields)))
    with pytest.raises(BadInput, match=words) as caught:
        content(npz, "a.npy")
    assert str(npz.path) in str(caught.value)


@pytest.mark.parametrize("deflated", [False, True])
def test_every_flipped_bit_and_every_cut_is_refused_or_harmless(deflated: bool, tmp_path: Path) -> None:
    path, arrays = tmp_path / "x.npz", {"a": np.arange(9) * 1_000_003, "b": np.arange(40, dtype=np.uint8)}
    (np.savez_compressed if deflated else np.savez)(path, **arrays)
    whole = path.read_bytes()

    def read() -> dict[str, np.ndarray] | None:
        found = {}
        with suppress(BadInput):
            npz = open_npz(path)
            for name in npz.entries:
                member = npz.npy(name)
                data = np.frombuffer(content(npz, name)[member.header_bytes :], member.dtype)
                found[name.removesuffix(".npy")] = data.reshape(member.shape)
            return found
        return None

    harmless = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if (found := read()) is not None:
            harmless += 1
            assert found.keys() == arrays.keys(), f"bit {bit}"
            for key, array in arrays.items():
                np.testing.assert_array_equal(found[key], array, f"bit {bit}")
    assert 0 < harmless < 8 * len(whole) // 3  # dates, versions, file modes and counters nobody needs
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read() is None, f"cut at {length}"


def test_a_file_that_changes_is_not_read_on(tmp_path: Path) -> None:
    npz = open_npz(write(tmp_path / "x.npz", sound()))
    write(tmp_path / "x.npz", [*sound(), *sound(name="b.npy")])
    with pytest.raises(BadInput, match="changed"):
        npz.npy("a.npy")
    (tmp_path / "x.npz").unlink()
    with pytest.raises(BadInput, match="cannot be opened"):
        npz.npy("a.npy")


def test_a_file_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    npz = open_npz(write(tmp_path / "x.npz", sound(content=A)))
    with npz.reading() as fd:
        os.truncate(npz.path, 1000)
        with pytest.raises(BadInput, match="before its content does"):
            Stream(npz.path, fd, npz.entries["a.npy"]).readinto(memoryview(bytearray(len(A))))


def test_failing_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    npz = open_npz(write(tmp_path / "x.npz", sound()))
    monkeypatch.setattr(os, "preadv", fails)
    with pytest.raises(BadInput, match="Input/output error"):
        npz.npy("a.npy")
    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(BadInput, match="Input/output error"):
        open_npz(npz.path)


def test_reading_past_the_end_is_the_callers_mistake(tmp_path: Path) -> None:
    npz = open_npz(write(tmp_path / "x.npz", batch_parts()))
    with npz.reading() as fd, pytest.raises(ValueError, match="left"):
        Stream(npz.path, fd, npz.entries["data.npy"]).readinto(memoryview(bytearray(1 << 20)))
