"""Part of a JPEG: libjpeg decodes only the rows and columns that are asked for, at 1, 1/2, 1/4 or 1/8 of their size.

The library is libjpeg-turbo as Pillow brings it along. It ends in a jump where it gives up, which Python has no way to
take part in, so what calls it is machine code of our own. Rows above the part are only unpacked, rows below not even
that; the pixels are those of a whole decode.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imgassets.mapping.machine import compiled

MARGIN = 16
"""Columns that are decoded on either side, since chroma is interpolated from its neighbours."""
ROWS_BEYOND = 8
"""Rows for which there is room below a part."""
_WIDEST = 32
"""Columns of libjpeg's largest unit, to which it extends what it is asked for."""
_Wanted = ctypes.c_uint32 * 9
_LEFT = 4
_COLOURS = {1: 1, 3: 2}
"""libjpeg's number of greyscale and RGB, by channels."""
_VERSION, _SIZE = 62, 632
"""libjpeg's interface, and the bytes of its state: it refuses to work with others."""
_CALLS = (
    *("jpeg_std_error", "jpeg_CreateDecompress", "jpeg_mem_src", "jpeg_read_header", "jpeg_start_decompress"),
    *("jpeg_crop_scanline", "jpeg_skip_scanlines", "jpeg_read_scanlines", "jpeg_destroy_decompress"),
)
# offsets into `jpeg_decompress_struct` and `jpeg_error_mgr` of jpeglib.h, 64 bits
_CODE = """
declare i32 @_setjmp(ptr) returns_twice
declare void @longjmp(ptr, i32) noreturn

define void @give_up(ptr %state) {{
  %jump_at = getelementptr i8, ptr %state, i64 24 ; client_data
  %jump = load ptr, ptr %jump_at
  call void @longjmp(ptr %jump, i32 1)
  unreachable
}}

define void @say_nothing(ptr %state) {{
  ret void
}}

define i32 @region(ptr %data, i64 %size, ptr %wanted, ptr %out) {{
begin:
  %state = alloca [{room} x i8], align 16
  %errors = alloca [512 x i8], align 16
  %jump = alloca [1024 x i8], align 16
  %line = alloca ptr
  call void @llvm.memset.p0.i64(ptr %state, i8 0, i64 {room}, i1 false)
  %manager = call ptr {jpeg_std_error}(ptr %errors)
  store ptr @give_up, ptr %errors ; error_exit
  %output_message = getelementptr i8, ptr %errors, i64 16
  store ptr @say_nothing, ptr %output_message
  store ptr %errors, ptr %state ; err
  %client_data = getelementptr i8, ptr %state, i64 24
  store ptr %jump, ptr %client_data
  %thrown = call i32 @_setjmp(ptr %jump) returns_twice
  %fine = icmp eq i32 %thrown, 0
  br i1 %fine, label %open, label %broken
open:
  call void {jpeg_CreateDecompress}(ptr %state, i32 {version}, i64 {struct})
  call void {jpeg_mem_src}(ptr %state, ptr %data, i64 %size)
  call i32 {jpeg_read_header}(ptr %state, i32 1)
  %colours_at = getelementptr i8, ptr %state, i64 64 ; out_color_space
  %scale_num = getelementptr i8, ptr %state, i64 68
  %scale_denom = getelementptr i8, ptr %state, i64 72
  %colours = load i32, ptr %wanted
  %reduced_at = getelementptr i32, ptr %wanted, i64 1
  %reduced = load i32, ptr %reduced_at
  store i32 %colours, ptr %colours_at
  store i32 1, ptr %scale_num
  store i32 %reduced, ptr %scale_denom
  call i32 {jpeg_start_decompress}(ptr %state)
  %size_at = getelementptr i8, ptr %state, i64 136 ; output_width, output_height
  %found_size = load i64, ptr %size_at, align 4
  %wanted_at = getelementptr i32, ptr %wanted, i64 2
  %wanted_size = load i64, ptr %wanted_at, align 4
  %alike = icmp eq i64 %found_size, %wanted_size
  br i1 %alike, label %cut, label %broken
cut:
  %left_at = getelementptr i32, ptr %wanted, i64 4
  %width_at = getelementptr i32, ptr %wanted, i64 5
  %top_at = getelementptr i32, ptr %wanted, i64 6
  %rows_at = getelementptr i32, ptr %wanted, i64 7
  %stride_at = getelementptr i32, ptr %wanted, i64 8
  call void {jpeg_crop_scanline}(ptr %state, ptr %left_at, ptr %width_at)
  %width = load i32, ptr %width_at
  %channels_at = getelementptr i8, ptr %state, i64 148 ; output_components
  %channels = load i32, ptr %channels_at
  %row = mul i32 %width, %channels
  %stride = load i32, ptr %stride_at
  %fits = icmp ule i32 %row, %stride
  br i1 %fits, label %skip, label %broken
skip:
  %top = load i32, ptr %top_at
  call i32 {jpeg_skip_scanlines}(ptr %state, i32 %top)
  %rows = load i32, ptr %rows_at
  %step = zext i32 %stride to i64
  br label %read
read:
  %k = phi i32 [0, %skip], [%next, %read]
  %far = zext i32 %k to i64
  %offset = mul i64 %far, %step
  %target = getelementptr i8, ptr %out, i64 %offset
  store ptr %target, ptr %line
  %got = call i32 {jpeg_read_scanlines}(ptr %state, ptr %line, i32 1)
  %next = add i32 %k, %got
  %more = icmp ult i32 %next, %rows
  %going = icmp eq i32 %got, 1
  %again = and i1 %more, %going
  br i1 %again, label %read, label %end
end:
  %warnings_at = getelementptr i8, ptr %errors, i64 128 ; num_warnings
  %warnings = load i64, ptr %warnings_at
  %calm = icmp eq i64 %warnings, 0
  %all = icmp eq i32 %next, %rows
  %sound = and i1 %calm, %all
  %failed = xor i1 %sound, true
  %answer = zext i1 %failed to i32
  call void {jpeg_destroy_decompress}(ptr %state)
  ret i32 %answer
broken:
  call void {jpeg_destroy_decompress}(ptr %state)
  ret i32 1
}}

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""


class Part(NamedTuple):
    """Columns and rows of an image, in pixels: of it as it is decoded, reduced or not."""

    left: int
    top: int
    width: int
    height: int


class PixelRows(NamedTuple):
    """Where rows of pixels lie."""

    place: int
    """Address of the first pixel that was asked for."""
    stride: int
    """Bytes from row to row."""


def decode_part(
    data: bytes | memoryview, size: tuple[int, int], part: Part, channels: int, reduced: int, scratch: Scratch
) -> PixelRows | None:
    """A part's pixels in memory of `scratch`, which may be read some rows and bytes beyond them.

    `size` is (width, height) of the whole as it is decoded, at 1/`reduced` of the file's. None where the file is of
    another size, or does not decode without any complaint up to the end of the part.
    """
    region = _machine_code()
    if region is None:
        return None
    left, right = max(0, part.left - MARGIN), min(size[0], part.left + part.width + MARGIN)
    stride = (right - left + 2 * -(-_WIDEST // reduced)) * channels
    place = scratch.room((part.height + ROWS_BEYOND) * stride)
    wanted = _Wanted(_COLOURS[channels], reduced, *size, left, right - left, part.top, part.height, stride)
    if region[0](address_of(data), len(data), ctypes.addressof(wanted), place):
        return None
    return PixelRows(place + (part.left - wanted[_LEFT]) * channels, stride)


def address_of(data: bytes | memoryview | NDArray[np.uint8]) -> int:
    """Where bytes lie, while something holds them."""
    place: int = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    return place


class Scratch:
    """Memory of a thread for pixels on their way."""

    KEPT = 16 << 20

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)
        self._place = 0

    def room(self, nbytes: int) -> int:
        """Address of at least so many bytes, good until the next call."""
        if nbytes > len(self._kept) or len(self._kept) > self.KEPT >= nbytes:
            self._kept = np.empty(max(nbytes, min(2 * nbytes, self.KEPT)) + 64, np.uint8)
            self._place = address_of(self._kept)
        return self._place


@cache
def _machine_code() -> tuple[Callable[[int, int, int, int], int], object] | None:
    """The function, and what its code lives as long as; None where Pillow's library is of another kind."""
    from PIL import _imaging

    library = ctypes.CDLL(_imaging.__file__)
    try:
        places = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _CALLS}
    except AttributeError:
        return None
    calls = {name: f"inttoptr (i64 {place} to ptr)" for name, place in places.items()}
    engine = compiled(_CODE.format(room=1024, version=_VERSION, struct=_SIZE, **calls))
    address, number = ctypes.c_void_p, ctypes.c_int64
    call = ctypes.CFUNCTYPE(ctypes.c_int32, address, number, address, address)
    return call(engine.get_function_address("region")), (engine, library)
