"""A box of pixels at another size: bilinear with antialiasing, in Pillow's whole numbers, into memory that is there.

Weights are those of Pillow's `Resample.c`: 22 bits, columns before rows, each rounded to 8 bits; for a box of whole
pixels the result is that of `image.crop(box).resize(size, BILINEAR)`, bit by bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from imgassets.mapping.machine import compiled

LANES = 16
"""Bytes of a row that are summed at a time; the least that a row of the result has."""
TOGETHER = 4
"""Rows whose columns are summed at a time."""
_BEYOND = 16
"""Bytes between rows, since pixels are written as four bytes."""
_BITS = 22
_HALF = 1 << _BITS - 1

_CODE = f"""
define void @across(ptr %source, i64 %stride, i64 %rows, i64 %channels, ptr %firsts, ptr %weights, i64 %taps,
                    i64 %columns, ptr %out, i64 %out_stride) {{
begin:
  br label %four
four:
  %y = phi i64 [0, %begin], [%next_y, %end_of_four]
  %row_at = mul i64 %y, %stride
  %s0 = getelementptr i8, ptr %source, i64 %row_at
  %s1 = getelementptr i8, ptr %s0, i64 %stride
  %s2 = getelementptr i8, ptr %s1, i64 %stride
  %s3 = getelementptr i8, ptr %s2, i64 %stride
  %out_at = mul i64 %y, %out_stride
  %o0 = getelementptr i8, ptr %out, i64 %out_at
  %o1 = getelementptr i8, ptr %o0, i64 %out_stride
  %o2 = getelementptr i8, ptr %o1, i64 %out_stride
  %o3 = getelementptr i8, ptr %o2, i64 %out_stride
  br label %column
column:
  %x = phi i64 [0, %four], [%next_x, %end_of_column]
  %first_at = getelementptr i32, ptr %firsts, i64 %x
  %first = load i32, ptr %first_at
  %first_far = zext i32 %first to i64
  %from = mul i64 %first_far, %channels
  %weights_from = mul i64 %x, %taps
  br label %tap
tap:
  %k = phi i64 [0, %column], [%next_k, %tap]
  %at = phi i64 [%from, %column], [%next_at, %tap]
  %sum = phi <16 x i32> [splat (i32 {_HALF}), %column], [%more, %tap]
  %w_i = add i64 %weights_from, %k
  %w_at = getelementptr i32, ptr %weights, i64 %w_i
  %w = load i32, ptr %w_at
  %w_one = insertelement <16 x i32> poison, i32 %w, i64 0
  %w_all = shufflevector <16 x i32> %w_one, <16 x i32> poison, <16 x i32> zeroinitializer
  %p0 = getelementptr i8, ptr %s0, i64 %at
  %p1 = getelementptr i8, ptr %s1, i64 %at
  %p2 = getelementptr i8, ptr %s2, i64 %at
  %p3 = getelementptr i8, ptr %s3, i64 %at
  %v0 = load i32, ptr %p0, align 1
  %v1 = load i32, ptr %p1, align 1
  %v2 = load i32, ptr %p2, align 1
  %v3 = load i32, ptr %p3, align 1
  %u0 = insertelement <4 x i32> poison, i32 %v0, i64 0
  %u1 = insertelement <4 x i32> %u0, i32 %v1, i64 1
  %u2 = insertelement <4 x i32> %u1, i32 %v2, i64 2
  %u3 = insertelement <4 x i32> %u2, i32 %v3, i64 3
  %bytes = bitcast <4 x i32> %u3 to <16 x i8>
  %wide = zext <16 x i8> %bytes to <16 x i32>
  %product = mul <16 x i32> %wide, %w_all
  %more = add <16 x i32> %sum, %product
  %next_k = add i64 %k, 1
  %next_at = add i64 %at, %channels
  %unfinished = icmp ult i64 %next_k, %taps
  br i1 %unfinished, label %tap, label %end_of_column
end_of_column:
  %shifted = lshr <16 x i32> %more, splat (i32 {_BITS})
  %small = trunc <16 x i32> %shifted to <16 x i8>
  %words = bitcast <16 x i8> %small to <4 x i32>
  %place = mul i64 %x, %channels
  %r0 = extractelement <4 x i32> %words, i64 0
  %r1 = extractelement <4 x i32> %words, i64 1
  %r2 = extractelement <4 x i32> %words, i64 2
  %r3 = extractelement <4 x i32> %words, i64 3
  %q0 = getelementptr i8, ptr %o0, i64 %place
  %q1 = getelementptr i8, ptr %o1, i64 %place
  %q2 = getelementptr i8, ptr %o2, i64 %place
  %q3 = getelementptr i8, ptr %o3, i64 %place
  store i32 %r0, ptr %q0, align 1
  store i32 %r1, ptr %q1, align 1
  store i32 %r2, ptr %q2, align 1
  store i32 %r3, ptr %q3, align 1
  %next_x = add i64 %x, 1
  %more_x = icmp ult i64 %next_x, %columns
  br i1 %more_x, label %column, label %end_of_four
end_of_four:
  %next_y = add i64 %y, {TOGETHER}
  %more_y = icmp ult i64 %next_y, %rows
  br i1 %more_y, label %four, label %end
end:
  ret void
}}

define void @down(ptr %source, i64 %stride, ptr %firsts, ptr %weights, i64 %taps, i64 %rows, i64 %nbytes, ptr %out) {{
begin:
  %last = sub i64 %nbytes, {LANES}
  br label %row
row:
  %y = phi i64 [0, %begin], [%next_y, %end_of_row]
  %first_at = getelementptr i32, ptr %firsts, i64 %y
  %first = load i32, ptr %first_at
  %first_far = zext i32 %first to i64
  %from = mul i64 %first_far, %stride
  %top = getelementptr i8, ptr %source, i64 %from
  %weights_from = mul i64 %y, %taps
  %out_at = mul i64 %y, %nbytes
  %target = getelementptr i8, ptr %out, i64 %out_at
  br label %some
some:
  %j = phi i64 [0, %row], [%next_j, %end_of_some]
  %begins = call i64 @llvm.umin.i64(i64 %j, i64 %last) ; the last ones overlap those before
  %line = getelementptr i8, ptr %top, i64 %begins
  br label %tap
tap:
  %k = phi i64 [0, %some], [%next_k, %tap]
  %p = phi ptr [%line, %some], [%next_p, %tap]
  %sum = phi <{LANES} x i32> [splat (i32 {_HALF}), %some], [%more, %tap]
  %w_i = add i64 %weights_from, %k
  %w_at = getelementptr i32, ptr %weights, i64 %w_i
  %w = load i32, ptr %w_at
  %w_one = insertelement <{LANES} x i32> poison, i32 %w, i64 0
  %w_all = shufflevector <{LANES} x i32> %w_one, <{LANES} x i32> poison, <{LANES} x i32> zeroinitializer
  %bytes = load <{LANES} x i8>, ptr %p, align 1
  %wide = zext <{LANES} x i8> %bytes to <{LANES} x i32>
  %product = mul <{LANES} x i32> %wide, %w_all
  %more = add <{LANES} x i32> %sum, %product
  %next_k = add i64 %k, 1
  %next_p = getelementptr i8, ptr %p, i64 %stride
  %unfinished = icmp ult i64 %next_k, %taps
  br i1 %unfinished, label %tap, label %end_of_some
end_of_some:
  %shifted = lshr <{LANES} x i32> %more, splat (i32 {_BITS})
  %small = trunc <{LANES} x i32> %shifted to <{LANES} x i8>
  %place = getelementptr i8, ptr %target, i64 %begins
  store <{LANES} x i8> %small, ptr %place, align 1
  %next_j = add i64 %j, {LANES}
  %more_j = icmp ult i64 %next_j, %nbytes
  br i1 %more_j, label %some, label %end_of_row
end_of_row:
  %next_y = add i64 %y, 1
  %more_y = icmp ult i64 %next_y, %rows
  br i1 %more_y, label %row, label %end
end:
  ret void
}}

declare i64 @llvm.umin.i64(i64, i64)
"""


@dataclass(frozen=True)
class Weights:
    """Of each place of the result, the first source pixel and the weights of it and the ones after it."""

    first: NDArray[np.int32]
    """(places,)"""
    share: NDArray[np.int32]
    """(places, taps), in 2^-22."""

    @cached_property
    def places(self) -> tuple[int, int, int]:
        """Addresses of both, and the number of weights of a place."""
        return self.first.ctypes.data, self.share.ctypes.data, self.share.shape[1]

    @cached_property
    def end(self) -> int:
        """One more than the last source pixel."""
        return int(self.first.max() + self.share.shape[1])


@lru_cache(2048)
def weights(start: float, length: float, places: int, mirrored: bool = False) -> Weights:
    """How `places` pixels are made of those from `start` on over `length`, counted from the first that it touches."""
    scale, pixels = length / places, int(np.ceil(start + length))
    reach = max(scale, 1.0)
    centre = start + (np.arange(places) + 0.5) * scale
    low = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + reach + 0.5).astype(np.int64), pixels)
    at = low[:, None] + np.arange(int((high - low).max()))
    share = np.maximum(1 - np.abs((at - centre[:, None] + 0.5) / reach), 0) * (at < high[:, None])
    share = (share / share.sum(1, keepdims=True) * (1 << _BITS) + 0.5).astype(np.int32)
    low, share = _trimmed(low, share, pixels)
    step = -1 if mirrored else 1
    return Weights(np.ascontiguousarray(low[::step], np.int32), np.ascontiguousarray(share[::step]))


def _trimmed(
    low: NDArray[np.int64], share: NDArray[np.int32], pixels: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Without the weights of nothing that every place has at its ends, and with none beyond the last pixel."""
    used = share > 0
    begin = used.argmax(1)
    taps = int((share.shape[1] - used[:, ::-1].argmax(1) - begin).max())
    first = np.minimum(low + begin, pixels - taps)
    at = (first - low)[:, None] + np.arange(taps)
    inside = (at >= 0) & (at < share.shape[1])
    kept = np.take_along_axis(share, np.clip(at, 0, share.shape[1] - 1), 1)
    return first, np.where(inside, kept, 0).astype(np.int32)


def rescale(
    source: int, stride: int, across: Weights, down: Weights, between: int, out: int, shape: Sequence[int]
) -> None:
    """Pixels at address `source`, rows `stride` bytes apart, to `shape` (height, width, channels) at address `out`.

    Some rows and bytes beyond the box are read as well. At address `between` there is room for the box's rows at the
    new width: see `room_between`. The interpreter's lock is free meanwhile.
    """
    columns, rows, _ = _machine_code()
    height, width, channels = shape
    wide = width * channels
    columns(source, stride, down.end, channels, *across.places, width, between, wide + _BEYOND)
    rows(between, wide + _BEYOND, *down.places, height, wide, out)


def room_between(rows: int, shape: Sequence[int]) -> int:
    """Bytes that a box of `rows` needs on its way to `shape`."""
    return (rows + TOGETHER) * (shape[1] * shape[2] + _BEYOND)


@cache
def _machine_code() -> tuple[Callable[..., None], Callable[..., None], object]:
    """The functions, and what their code lives as long as."""
    engine = compiled(_CODE)
    address, number = ctypes.c_void_p, ctypes.c_int64
    columns = (address, number, number, number, address, address, number, number, address, number)
    rows = (address, number, address, address, number, number, number, address)
    return (
        ctypes.CFUNCTYPE(None, *columns)(engine.get_function_address("across")),
        ctypes.CFUNCTYPE(None, *rows)(engine.get_function_address("down")),
        engine,
    )
