"""Rows copied past the processor's caches: for batches that are larger than what the caches hold.

An ordinary store reads the line of memory that it overwrites, and drives out what is read next. The copy here writes
whole lines past the caches, and asks for the next row while it copies one: two threads gather images of 12 kB a third
faster than with `torch.index_select`. numpy and torch have no such copy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from imgassets.mapping.machine import compiled

LINE = 64
"""Bytes; rows and the memory they are copied to are whole lines."""
LEAST = 1 << 20
"""Bytes; what is smaller is better left in the caches, for whoever reads it next."""

_CODE = f"""
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)

define void @copy(ptr %base, ptr %positions, i64 %rows, i64 %nbytes, ptr noalias %out) {{
begin:
  %last = sub i64 %rows, 1
  br label %row
row:
  %i = phi i64 [0, %begin], [%next, %end_of_row]
  %next = add i64 %i, 1
  %more = icmp ult i64 %i, %last
  %coming_i = select i1 %more, i64 %next, i64 %last
  %position_at = getelementptr i64, ptr %positions, i64 %i
  %position = load i64, ptr %position_at
  %coming_at = getelementptr i64, ptr %positions, i64 %coming_i
  %coming_position = load i64, ptr %coming_at
  %source = getelementptr i8, ptr %base, i64 %position
  %coming = getelementptr i8, ptr %base, i64 %coming_position
  %place = mul i64 %i, %nbytes
  %target = getelementptr i8, ptr %out, i64 %place
  br label %line
line:
  %k = phi i64 [0, %row], [%following, %line]
  %coming_line = getelementptr i8, ptr %coming, i64 %k
  call void @llvm.prefetch.p0(ptr %coming_line, i32 0, i32 3, i32 1)
  %source_line = getelementptr i8, ptr %source, i64 %k
  %value = load <{LINE} x i8>, ptr %source_line, align 1
  %target_line = getelementptr i8, ptr %target, i64 %k
  store <{LINE} x i8> %value, ptr %target_line, align {LINE}, !nontemporal !0
  %following = add i64 %k, {LINE}
  %unfinished = icmp ult i64 %following, %nbytes
  br i1 %unfinished, label %line, label %end_of_row
end_of_row:
  br i1 %more, label %row, label %end
end:
  fence seq_cst ; before another thread is told of the rows
  ret void
}}

!0 = !{{i32 1}}
"""


def copy_rows(base: int, positions: int, rows: int, nbytes: int, out: int) -> None:
    """Copy row i, `nbytes` from address `base + positions[i]` on, to address `out + i * nbytes`; all are addresses.

    `positions` are int64; there is at least one. `nbytes` and `out` are multiples of `LINE`. The interpreter's lock is
    free meanwhile.
    """
    copy, _ = _machine_code()
    copy(base, positions, rows, nbytes, out)


@cache
def _machine_code() -> tuple[Callable[[int, int, int, int, int], None], object]:
    """The function, and what its code lives as long as."""
    engine = compiled(_CODE)
    address, number = ctypes.c_void_p, ctypes.c_int64
    copy = ctypes.CFUNCTYPE(None, address, address, number, number, address)(engine.get_function_address("copy"))
    return copy, engine
