"""Plain tar archives (POSIX.1-1988 ustar): files without owner or clock, so always the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput, StoreError

BLOCK = 512
"""Headers and files fill whole blocks."""
RECORD = 10240
"""Archives of tar programs fill whole records of 20 blocks."""
END = bytes(2 * BLOCK)
"""What ends an archive."""
Size = TypeVar("Size", int, NDArray[np.int64])


def header(name: str, size: int) -> bytes:
    """The block before a file of `size` bytes; see `headers`."""
    return headers([name], [size])[0]


def headers(names: Sequence[str], sizes: Sequence[int]) -> list[bytes]:
    """The blocks before files of these sizes, in bytes; names are ASCII of at most 100 bytes.

    Raises:
        StoreError: a file is larger than the 8 GiB that the header can say.
    """
    if sizes and max(sizes) >= 8**11:
        k = int(np.argmax(sizes))
        raise StoreError(
            f"{names[k]} of {sizes[k]} bytes does not fit into a tar file, whose members have 8 GiB at most."
        )
    blocks = np.tile(np.frombuffer(_TEMPLATE, np.uint8), (len(names), 1))
    _put(blocks, 0, [name.encode("ascii") for name in names])
    _put(blocks, 124, [b"%011o" % size for size in sizes])
    changed = (slice(0, 100), slice(124, 135))  # beside the checksum, which counts itself as eight spaces
    sums = sum(blocks[:, part].sum(axis=1, dtype=np.int64) for part in changed) + (_REST + 8 * ord(" "))
    _put(blocks, 148, [b"%06o\0 " % value for value in np.asarray(sums).tolist()])
    data = blocks.tobytes()
    return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


def _template() -> bytes:
    """What all headers share: a file that its owner may write and all may read, without owner and clock."""
    block = bytearray(BLOCK)
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[136:148] = b"00000000000\0"
    block[156:157] = b"0"
    block[257:265] = b"ustar\00000"
    return bytes(block)


_TEMPLATE = _template()
_REST = sum(_TEMPLATE)


def _put(blocks: NDArray[np.uint8], at: int, values: Sequence[bytes]) -> None:
    """Write a byte string into each row, from column `at` on."""
    column = np.array(values)
    blocks[:, at : at + column.itemsize] = column.view(np.uint8).reshape(len(values), -1)


def member_bytes(size: Size) -> Size:
    """Bytes that files of `size` bytes take in an archive: header, content and padding."""
    return BLOCK + size + -size % BLOCK


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
