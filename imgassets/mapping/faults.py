"""What becomes of a process that reads a mapped file which somebody cuts: by itself the system ends it by SIGBUS.

Between looking at a file's size and the end of a copy there is always a moment, and to copy by system calls that fail
softly (`process_vm_readv`, `pread`) takes twice as long. So the signal is handled, by machine code that calls nothing
but `mmap`: where a watched range has lost a page it gets one of zeros and a mark, and who watches looks for the mark.
All other faults go to whoever handled them before.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from functools import cache
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.mapping.machine import compiled

POSSIBLE = sys.platform == "linux" and sys.maxsize > 2**32
"""Elsewhere structures of the system have other places; a cut file ends the process there, as it always did."""
MAP_FIXED = 0x10
"""`sys/mman.h`, the same on Linux, macOS and the BSDs."""
SLOTS = 1024
"""Most copies at a time."""
MASK_BYTES, SIGINFO, ONSTACK = 128, 4, 0x08000000
"""Of Linux's `struct sigaction`."""

_watched = np.zeros((SLOTS, 3), np.int64)
"""Of each copy under way: begin and end of its range, and the address of its mark."""
_free: SimpleQueue[int] = SimpleQueue()
for _slot in range(SLOTS):
    _free.put(_slot)
_ends = _watched[:, 1]
_before = ctypes.create_string_buffer(512)
"""Whoever handled the signal before."""
_installed = not POSSIBLE
_installing = Lock()

_CODE = f"""
declare ptr @mmap(ptr, i64, i32, i32, i32, i64)
declare i32 @sigaction(i32, ptr, ptr)
declare i32 @raise(i32)

define void @on_fault(i32 %signal, ptr %info, ptr %context) {{
begin:
  %code_at = getelementptr i8, ptr %info, i64 8
  %code = load i32, ptr %code_at
  %sent = icmp sle i32 %code, 0 ; by a process, not by a fault
  br i1 %sent, label %other, label %fault
fault:
  %address_at = getelementptr i8, ptr %info, i64 16
  %address = load i64, ptr %address_at
  br label %look
look:
  %k = phi i64 [0, %fault], [%next, %again]
  %watched = inttoptr i64 {_watched.ctypes.data} to ptr
  %place = mul i64 %k, 24
  %slot = getelementptr i8, ptr %watched, i64 %place
  %low = load volatile i64, ptr %slot
  %end_at = getelementptr i8, ptr %slot, i64 8
  %high = load volatile i64, ptr %end_at
  %above = icmp uge i64 %address, %low
  %below = icmp ult i64 %address, %high
  %inside = and i1 %above, %below
  br i1 %inside, label %lost, label %again
again:
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, {SLOTS}
  br i1 %more, label %look, label %other
lost:
  %mark_at = getelementptr i8, ptr %slot, i64 16
  %mark_address = load volatile i64, ptr %mark_at
  %mark = inttoptr i64 %mark_address to ptr
  store volatile i64 %address, ptr %mark ; before the zeros: whoever reads them finds the mark afterwards
  fence seq_cst
  %page = and i64 %address, {-mmap.PAGESIZE}
  %page_at = inttoptr i64 %page to ptr
  %flags = or i32 {mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}, {MAP_FIXED}
  %made = call ptr @mmap(ptr %page_at, i64 {mmap.PAGESIZE}, i32 {mmap.PROT_READ}, i32 %flags, i32 -1, i64 0)
  %good = icmp eq ptr %made, %page_at
  br i1 %good, label %end, label %other
other: ; the fault comes again, to whoever handled it before
  %before = inttoptr i64 {ctypes.addressof(_before)} to ptr
  %put_back = call i32 @sigaction(i32 %signal, ptr %before, ptr null)
  br i1 %sent, label %resend, label %end
resend:
  %resent = call i32 @raise(i32 %signal)
  br label %end
end:
  ret void
}}
"""


def watch(entry: NDArray[np.int64]) -> int:
    """Begin to watch a range, given as begin, end and the address of its mark; returns what to `leave`.

    The mark, int64, becomes the address of a page that was lost. Several may watch one range.
    """
    if not _installed:
        _install()
    slot = _free.get()
    _watched[slot] = entry
    return slot


def leave(slot: int) -> None:
    """Watch no longer."""
    _ends[slot] = 0
    _free.put(slot)


def _install() -> None:
    global _installed
    handler = _machine_code().get_function_address("on_fault")
    with _installing:
        libc = ctypes.CDLL(None, use_errno=True)
        action = handler.to_bytes(8, sys.byteorder) + bytes(MASK_BYTES)
        action += (SIGINFO | ONSTACK).to_bytes(8, sys.byteorder) + bytes(64)
        now = ctypes.create_string_buffer(512)
        libc.sigaction(signal.SIGBUS, None, now)
        if now.raw[:8] != action[:8]:
            _before.raw = now.raw
            libc.sigaction(signal.SIGBUS, ctypes.c_char_p(action), None)
        _installed = True


def _forked() -> None:
    """Workers of torch's DataLoader set a handler of theirs."""
    global _installed
    _installed = not POSSIBLE


os.register_at_fork(after_in_child=_forked)


@cache
def _machine_code() -> Any:
    return compiled(_CODE)
