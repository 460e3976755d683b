"""What some bytes are where something else was expected: an unfinished download, a wrapper, a page that says why."""

from __future__ import annotations

HEAD = 512
"""Bytes of a file that tell."""
ARCHIVES = {b"PK\3\4": "a zip archive", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive"}
PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<error", b"<!--")
PICKLED = (b"(dp", b"(lp", b"ccopy_reg\n", b"cnumpy")
"""How pickles of the oldest protocol begin, Python 2's own."""


def foreign(head: bytes, text: bool = False) -> str:
    """A phrase such as `is a web page: …`, with what to do; empty where the bytes tell nothing.

    `text` says that text belongs there.
    """
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file: run git lfs pull"
    if head.startswith(b"/annex/objects/") or b".git/annex/objects/" in head[:200]:
        return "is a pointer of git-annex, not the file: run git annex get"
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    if begin.startswith(b"<svg") or (begin.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in head):
        return "is an SVG drawing, which has no pixels: save it as PNG"
    if begin.startswith(PAGES):
        return "is a web page that was saved in its place: download the file again"
    if archive := archive_kind(head):
        return f"is {archive}: unpack it first"
    if program := unpacker(head):
        return f"is compressed: unpack it first ({program})"
    if head.startswith(PICKLED) or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and head[1:2]):
        return "is a pickle, which is never opened, for it can run code: save the arrays or tensors as they are"
    if head and not head.strip(b"\0"):
        return "begins with zeros alone: copy or download it again"
    if not text and (words := _words(head)):
        return f"is text where none belongs ({words!r}): download the file again"
    return ""


def _words(head: bytes) -> str:
    """How a text begins; empty for anything else."""
    try:
        found = head.decode()
    except UnicodeDecodeError as error:  # the last letter may be cut
        found = head[: error.start].decode() if error.start > len(head) - 4 else ""
    return found.strip()[:40] if all(letter.isprintable() or letter.isspace() for letter in found) else ""


def archive_kind(head: bytes) -> str:
    """`a zip archive`, `a tar archive`, …; empty for anything else."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), "")


def unpacker(head: bytes) -> str:
    """The program that unpacks a compressed file; empty for anything else."""
    return next((program for magic, program in PACKED.items() if head.startswith(magic)), "")
