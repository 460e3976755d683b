"""A quick proof that a JPEG's scan is whole: its Huffman codes are walked to the end, and no pixel is made.

Only the usual kind is walked: baseline, one scan of gray or YCbCr, no restart intervals. A walk costs half of the
cheapest decode, because one look into a table passes over several codes with the bits behind them. Codes, tables and
segments are those of ITU-T T.81, annexes B, C and F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.images.jpeg import SCAN, segments

WINDOW = 13
"""Bits that one look takes in; two tables of this size and their neighbours fit into the first-level cache."""
LONGEST = 16
"""Bits of the longest Huffman code."""
KEPT = 8
"""Sets of tables that are kept, each half a megabyte: most images share one, the rest have one of their own."""
_SAMPLING = {0x11, 0x12, 0x21, 0x22}
_PASSED_OVER = frozenset({0xFE, *range(0xE0, 0xF0)})
_loading = Lock()

Spec = tuple[bool, bytes]
"""A Huffman table as a file states it, for DC or not: how many codes of each length there are, and their symbols."""


def is_whole(data: bytes) -> bool:
    """Whether a JPEG is proven to decode to its end-of-image marker without complaint; False leaves it open."""
    try:
        scan = _Scan.of(data)
    except (IndexError, KeyError, ValueError):
        return False
    tables = _tables(scan.tables)
    if tables is None:
        return False
    packed = np.frombuffer(data, np.uint8)
    plain = np.empty(len(data) - scan.start + 64 * LONGEST, np.uint8)
    _, unstuff, walk = _native()
    end, size = unstuff(packed, scan.start, plain)
    if data[end : end + 2] != b"\xff\xd9":
        return False
    plain[size:] = 0
    return bool(walk(plain, size, scan.units, *scan.blocks, *tables))


@dataclass(frozen=True)
class _Scan:
    """What the segments before the image data say."""

    start: int
    """Offset of the image data."""
    units: int
    """Minimum coded units in the scan."""
    tables: tuple[Spec, ...]
    blocks: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Numbers of the DC and AC table of each block of a unit."""

    @staticmethod
    def of(data: bytes) -> _Scan:
        """Read the segments; raises ValueError, KeyError or IndexError where they are not of the usual kind."""
        huffman: dict[int, bytes] = {}
        quantisation: set[int] = set()
        frame = b""
        for marker, start, end, follows in segments(data):
            body = data[start:end]
            if not follows or end > len(data):
                break
            if marker == 0xC4:
                huffman |= _huffman(body)
            elif marker == 0xDB:
                quantisation |= _quantisation(body)
            elif marker in {0xC0, 0xC1} and not frame:
                frame = body
            elif marker == SCAN:
                return _scan(frame, body, end, huffman, quantisation)
            elif marker not in _PASSED_OVER:
                break
        raise ValueError("of another kind")


def _huffman(body: bytes) -> dict[int, bytes]:
    found = {}
    while body:
        size = 17 + sum(body[1:17])
        if len(body) < size:
            raise ValueError("cut")
        found[body[0]], body = body[1:size], body[size:]
    return found


def _quantisation(body: bytes) -> set[int]:
    found = set()
    while body:
        size = 129 if body[0] >> 4 else 65
        if len(body) < size:
            raise ValueError("cut")
        found.add(body[0] & 15)
        body = body[size:]
    return found


def _scan(frame: bytes, body: bytes, start: int, huffman: dict[int, bytes], quantisation: set[int]) -> _Scan:
    height, width, count = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5]
    components = [frame[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    chosen = [body[1 + 2 * i : 3 + 2 * i] for i in range(count)]
    usual = (
        (frame[0], len(frame)) == (8, 6 + 3 * count)
        and count in {1, 3}
        and components[0][1] in _SAMPLING
        and all(sampling == 0x11 for _, sampling, _ in components[1:])
        and all(table in quantisation for _, _, table in components)
        and body[0] == count
        and [c[0] for c in chosen] == [c[0] for c in components]
        and body[1 + 2 * count :] == b"\x00\x3f\x00"
    )
    if not usual:
        raise ValueError("of another kind")
    across, down = divmod(components[0][1], 16) if count == 3 else (1, 1)  # a lone component has no larger units
    numbers: dict[int, int] = {}
    blocks = []
    for i, (_, tables) in enumerate(chosen):
        pair = [numbers.setdefault(key, len(numbers)) for key in (tables >> 4, tables & 15 | 16)]
        blocks += [pair] * (across * down if i == 0 else 1)
    dc, ac = np.array(blocks, np.int64).T.copy()
    specs = tuple((key < 16, huffman[key]) for key in numbers)
    return _Scan(start, -(-width // (8 * across)) * -(-height // (8 * down)), specs, (dc, ac))


@lru_cache(KEPT)
def _tables(specs: tuple[Spec, ...]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
    """Two tables for each spec: by the next 16 bits what one code does, by the next `WINDOW` bits what several do.

    An entry is 0 where no code begins so; else the bits to pass over, codes and values together, + 32 x the
    coefficients they stand for + 4096 where they end the block. None where a spec is not valid.
    """
    one = np.zeros((len(specs), 1 << LONGEST), np.uint16)
    many = np.zeros((len(specs), 1 << WINDOW), np.uint16)
    fill, _, _ = _native()
    for (is_dc, spec), *rows in zip(specs, one, many, strict=True):
        both = np.frombuffer(spec, np.uint8).astype(np.int64)
        if not fill(both[:16], both[16:], is_dc, *rows):
            return None
    return one, many


def _native() -> tuple[Callable[..., Any], ...]:
    """`_fill`, `_unstuff` and `_walk` as machine code, which is made when they are first called: it takes a second."""
    with _loading:
        return _compiled()


@cache
def _compiled() -> tuple[Callable[..., Any], ...]:
    from numba import njit

    compiled = njit(nogil=True)
    return compiled(_fill), compiled(_unstuff), compiled(_walk)


def _fill(counts: Any, symbols: Any, is_dc: bool, one: Any, many: Any) -> bool:
    """Fill the tables of one spec; False where its codes do not fit."""
    code = n = 0
    for length in range(1, LONGEST + 1):
        for _ in range(counts[length - 1]):
            symbol = symbols[n]
            run, size = symbol >> 4, symbol & 15
            entry: Any = 0
            if is_dc and symbol > 15:
                return False
            if is_dc:
                entry = length + size if size <= 11 else 0
            elif symbol == 0:
                entry = length | 4096
            elif symbol == 0xF0:
                entry = length | 16 << 5
            elif 1 <= size <= 10:
                entry = length + size | run + 1 << 5
            one[code << LONGEST - length : code + 1 << LONGEST - length] = entry
            code, n = code + 1, n + 1
        if code >= 1 << length:  # a code of ones only is not allowed
            return False
        code <<= 1
    spare = LONGEST - WINDOW
    bits: Any
    for start in range(len(many)):
        bits = passed = end = 0
        while bits < WINDOW and not end:
            entry = np.int64(one[(start << bits & len(many) - 1) << spare])
            width = entry & 31
            if entry == 0 or bits + width > WINDOW:
                break
            bits, passed, end = bits + width, passed + (entry >> 5 & 127), entry >> 12
            if is_dc:
                break
        many[start] = bits | passed << 5 | end << 12
    return True


def _unstuff(data: Any, at: int, plain: Any) -> tuple[Any, Any]:
    """Copy image data from `at` on without the zero behind each 0xff; where a marker ends it, and its size."""
    size, one, last = np.uint64(0), np.uint64(1), np.uint64(len(data) - 1)
    place = np.uint64(at)
    while place < last:
        byte = data[place]
        if byte == 0xFF:
            if data[place + one] != 0:
                break
            place += one
        plain[size] = byte
        size, place = size + one, place + one
    return place, size


def _walk(plain: Any, size: int, units: int, dc: Any, ac: Any, one: Any, many: Any) -> bool:
    """Whether `units` units end exactly where the data do. `bits` are the next ones, the first in the highest place;
    at least 56 of the `have` in it are good after a refill, and no code with its value has more than 27."""
    bits: Any = np.uint64(0)
    have: Any = 0
    at: Any = np.uint64(0)
    for _ in range(units):
        for block in range(len(dc)):
            first = True
            k: Any = 0
            while k < 64:
                word: Any = np.uint64(0)
                for byte in range(8):
                    word = word << 8 | np.uint64(plain[at + np.uint64(byte)])
                bits |= word >> have
                at += np.uint64(63 - have >> 3)
                have |= 56
                if first:
                    entry: Any = np.int64(one[dc[block], bits >> 64 - LONGEST])
                    passed, end, first = 1, 0, False
                else:
                    entry = np.int64(many[ac[block], bits >> 64 - WINDOW])
                    passed, end = entry >> 5 & 127, entry >> 12
                    if entry == 0 or k + passed + end > 64:  # the look went beyond the block, or not to a code's end
                        entry = np.int64(one[ac[block], bits >> 64 - LONGEST])
                        passed, end = entry >> 5 & 127, entry >> 12
                if entry == 0 or k + passed + end > 64:
                    return False
                bits <<= entry & 31
                have -= entry & 31
                k = k + passed if end == 0 else 64
            if at > size + 8:
                return False
    left = 8 * (size - np.int64(at)) + have
    return bool(0 <= left < 8)
