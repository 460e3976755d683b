"""Asking the system for pieces of mapped files before they are read, and for nothing around them.

A page that is missing brings some 128 kB of its file along, which for thin slices of a large array is many times what
was wanted, and comes one after the other. What was asked for comes at once, and alone.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from functools import cache
from typing import Any

from imgassets.mapping.faults import POSSIBLE

PAGE = mmap.PAGESIZE
EVERY = 32
"""One piece of so many is looked at: to look at all would take half as long as copying them."""


def read_ahead(starts: Sequence[int], length: int, *, look: bool) -> None:
    """Ask for the pieces of `length` bytes, at least one, at these addresses, all of them mapped.

    With `look`, only if one of them is not in memory already, which is quicker where all are; the system tells the
    truth of files alone that this process may write to. It is a hint: nothing is changed, and no error comes of it.
    """
    if POSSIBLE and not (look and _held(starts[:-1:EVERY], length) and _held(starts[-1:], length)):
        for start in starts:
            first = start // PAGE * PAGE
            _libc().madvise(first, start + length - first, mmap.MADV_WILLNEED)


def _held(starts: Sequence[int], length: int) -> bool:
    """Whether all pages of pieces are in memory."""
    most = length // PAGE + 2
    pages = ctypes.create_string_buffer(most)
    mincore = _libc().mincore
    for start in starts:
        first = start // PAGE * PAGE
        if mincore(first, start + length - first, pages) or b"\0" in pages.raw[: -(-(start + length - first) // PAGE)]:
            return False
    return True


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return libc
