"""Plain tar archives (POSIX.1-1988 ustar): files without owner or clock, so always the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from imgassets.errors import BadInput, StoreError

BLOCK = 512
"""Headers and files fill whole blocks."""
RECORD = 10240
"""Archives of tar programs fill whole records of 20 blocks."""
END = bytes(2 * BLOCK)
"""What ends an archive."""


def header(name: str, size: int) -> bytes:
    """The block before a file of `size` bytes; `name` is ASCII of at most 100 bytes.

    Raises:
        StoreError: the file is larger than the 8 GiB that the header can say.
    """
    if size >= 8**11:
        raise StoreError(f"{name} of {size} bytes does not fit into a tar file, whose members have 8 GiB at most.")
    block = bytearray(BLOCK)
    block[0 : len(name)] = name.encode("ascii")
    block[100:136] = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size
    block[136:156] = b"00000000000\0" + b" " * 8  # the checksum counts itself as eight spaces
    block[156:157] = b"0"
    block[257:265] = b"ustar\00000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> bytes:
    """What fills the last block of a file of `size` bytes."""
    return bytes(-size % BLOCK)


def scan(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and length of every member of a plain ustar archive.

    Raises BadInput at a damaged header, a member that is cut off, anything but regular files, or a missing end.
    """
    end = file.seek(0, 2)
    at = 0
    while at + BLOCK <= end:
        file.seek(at)
        block = file.read(BLOCK)
        if block == bytes(BLOCK):
            return
        try:
            checksum, size = int(block[148:154], 8), int(block[124:135], 8)
            name = block[:100].rstrip(b"\0").decode("ascii")
        except ValueError as error:
            raise BadInput(f"There is no tar header at byte {at}.") from error
        if checksum != sum(block[:148]) + 256 + sum(block[156:]) or block[156:157] != b"0":
            raise BadInput(f"The tar header at byte {at} is damaged, or no regular file's.")
        if at + BLOCK + size > end:
            raise BadInput(f"{name} is cut off.")
        yield name, at + BLOCK, size
        at += BLOCK + -(-size // BLOCK) * BLOCK
    raise BadInput("The archive stops before its end.")
