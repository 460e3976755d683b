"""The walker against archives of the standard library, and against cut, damaged and hostile ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.sources.nested_tar import BLOCK, MAX_EXTENSION, Member, Tape, walk
from tests.tars import Entry, member, tar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def found(data: bytes) -> list[Member]:
    return list(walk(lambda offset, size: data[offset : offset + size], 0, len(data), "x.tar"))


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        found(data)
    text = str(caught.value)
    assert text.startswith("x.tar")
    return text


def rechecked(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
@settings(deadline=None, max_examples=60)
@given(
    files=st.dictionaries(
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60).map(lambda s: f"{s}.JPEG"),
        st.binary(max_size=1500),
        max_size=8,
    ),
    folder=st.sampled_from(["", "a/", "./", "deep/" * 30]),
)
def test_finds_what_the_standard_library_finds(kind: int, files: dict[str, bytes], folder: str) -> None:
    short = {name: body for name, body in files.items() if len(name.encode()) < 90}
    data = tar(((folder + name, body) for name, body in short.items()), kind)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        wanted = [Member(m.name.removeprefix("./"), m.offset_data, m.size) for m in archive]
    assert found(data) == wanted
    assert [data[m.offset : m.offset + m.size] for m in found(data)] == list(short.values())


def test_folders_are_passed_over_and_long_names_kept() -> None:
    name = "long/" * 60 + "n01440764_1.JPEG"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        entries: list[Entry] = [member("long", tarfile.DIRTYPE), (name, b"abc")]
        (only,) = found(tar(entries, kind))
        assert only.name == name
        assert only.basename == "n01440764_1.JPEG"


def test_walks_a_tar_inside_a_tar_in_place(tmp_path: Path) -> None:
    inner = {f"n{i}.tar": tar([(f"n{i}_{j}.JPEG", bytes([i, j]) * (j * 700)) for j in range(3)]) for i in range(3)}
    path = tmp_path / "outer.tar"
    path.write_bytes(tar(inner.items()))
    digest = hashlib.md5(usedforsecurity=False)
    seen = {}
    with Tape(path, digest) as tape:
        for outer in walk(tape.read, 0, tape.size, "outer.tar"):
            for image in walk(tape.read, outer.offset, outer.offset + outer.size, outer.name):
                seen[image.name] = tape.read(image.offset, image.size)
        tape.finish()
    assert seen == {f"n{i}_{j}.JPEG": bytes([i, j]) * (j * 700) for i in range(3) for j in range(3)}
    assert digest.hexdigest() == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_tape_with_a_digest_does_not_go_back(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3000))
    with Tape(path, hashlib.md5(usedforsecurity=False)) as tape:
        tape.read(1000, 10)
        with pytest.raises(ValueError, match="1010"):
            tape.read(1000, 10)
    with Tape(path) as tape, pytest.raises(BadInput, match="ends at byte 3000, 5 bytes early"):
        tape.read(2990, 15)
    with pytest.raises(BadInput, match="is missing"):
        Tape(tmp_path / "none.tar")
    with Tape(tmp_path) as tape, pytest.raises(BadInput, match="cannot be read at byte 0"):
        tape.read(0, 1)


def test_every_cut_is_noticed() -> None:
    # the padding of the last record carries nothing, so a cut inside it loses nothing
    data = tar([("a.JPEG", b"a" * 700), ("b.JPEG", b"b" * 512)])
    end = 2 * BLOCK + 1024 + 512 + 2 * BLOCK
    assert data.rstrip(b"\0")[-1:] == b"b"
    for cut in range(end):
        refusal(data[:cut])
    assert len(found(data[:end])) == 2


@settings(deadline=None, max_examples=300)
@given(place=st.integers(0, BLOCK - 1), second=st.booleans(), change=st.integers(1, 255))
def test_every_damaged_header_is_noticed(place: int, second: bool, change: int) -> None:
    data = bytearray(tar([("a.JPEG", b"a" * 100), ("b.JPEG", b"b" * 100)]))
    intact = found(bytes(data))
    data[place + 2 * BLOCK * second] ^= change
    try:
        after = found(bytes(data))
    except BadInput:
        return
    assert after == intact  # spaces and zeros around the checksum's digits mean the same
    assert 148 <= place < 156


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (("../a", b""), "leaves the archive's folder"),
        (("a/../../b", b""), "leaves the archive's folder"),
        (("/etc/passwd", b""), "is absolute"),
        (("a\\b", b""), "a backslash"),
        (("a\nb", b""), "a control character"),
        (("a\udcffb", b""), "not UTF-8"),
        (member("a", tarfile.LNKTYPE, "b"), "is a hard link"),
        (member("a", tarfile.SYMTYPE, "/etc/passwd"), "is a symbolic link"),
        (member("a", tarfile.CHRTYPE), "is a character device"),
        (member("a", tarfile.BLKTYPE), "is a block device"),
        (member("a", tarfile.FIFOTYPE), "is a named pipe"),
        (member("a", b"Z"), "of the unknown type"),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_refuses_what_is_no_plain_file_with_a_plain_name(entry: Entry, problem: str, kind: int) -> None:
    assert problem in refusal(tar([("fine.JPEG", b"x"), entry], kind))


def test_refuses_duplicates_and_what_lies_behind_the_end() -> None:
    assert "holds 'a' twice" in refusal(tar([("a", b"1"), ("a", b"2")]))
    assert "holds 'a' twice" in refusal(tar([("a", b"1"), ("./a", b"2")]))
    one = tar([("a", b"1")])
    assert "several tars in one" in refusal(one + one)
    assert "no tar archive" in refusal(b"PK\x03\x04" * 500)
    assert "has 0 bytes and is no tar archive" in refusal(b"")
    assert "other bytes behind its end" in refusal(one[:-1] + b"x")


def test_base_256_sizes_are_read_and_negative_ones_refused() -> None:
    data = bytearray(tar([("a", b"x" * 300)]))
    header = bytearray(data[:BLOCK])
    header[124:136] = b"\x80" + (300).to_bytes(11, "big")
    assert found(rechecked(header) + bytes(data[BLOCK:]))[0].size == 300
    header[124:136] = b"\xff" * 12
    assert "no valid size" in refusal(rechecked(header) + bytes(data[BLOCK:]))
    header[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")
    assert "it was cut" in refusal(rechecked(header) + bytes(data[BLOCK:]))


def test_signed_checksums_of_old_programs_are_accepted() -> None:
    data = bytearray(tar([("ä.JPEG", b"x")]))
    header = data[:BLOCK]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(byte - 256 * (byte > 127) for byte in header)
    assert found(bytes(header) + bytes(data[BLOCK:]))[0].name == "ä.JPEG"


def test_pax_headers_are_bounded_and_checked() -> None:
    def with_header(body: bytes, kind: bytes = b"x") -> bytes:
        info = member("x", kind)
        info.size = len(body)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            archive.addfile(info, io.BytesIO(body))
            archive.addfile(tarfile.TarInfo("a"))
        return buffer.getvalue()

    assert found(with_header(b"19 path=other.name\n"))[0].name == "other.name"
    assert found(with_header(b"20 comment=harmless\n", b"g"))[0].name == "a"
    assert "damaged pax header" in refusal(with_header(b"99 path=a\n"))
    assert "damaged pax header" in refusal(with_header(b"0 path=a\n"))
    assert "damaged pax header" in refusal(with_header(b"\xb2 path=a\n"))
    assert "leaves the archive's folder" in refusal(with_header(b"16 path=../../b\n"))
    assert "no valid size" in refusal(with_header(b"11 size=-1\n"))
    assert "sparse" in refusal(with_header(b"22 GNU.sparse.major=1\n"))
    assert "global header" in refusal(with_header(b"10 path=b\n", b"g"))
    assert "extended header of" in refusal(with_header(bytes(MAX_EXTENSION + 1)))
