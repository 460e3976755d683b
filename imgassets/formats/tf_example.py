"""The `tf.train.Example` of an ImageNet image, serialised by hand so that its bytes are the same everywhere.

The wire format is that of protocol buffers: every message, string and map entry is a tag, a varint length and its
content. Map keys are written sorted, as protocol buffers' deterministic mode does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from imgassets.errors import StoreError

_BYTES, _VARINT, _FIXED32, _FIXED64 = 2, 0, 5, 1
_FEATURES, _ENTRY, _KEY, _VALUE = 1, 1, 1, 2
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3

T = TypeVar("T", bytes, int)
Feature = list[bytes] | list[int] | list[float]


@dataclass(frozen=True, slots=True)
class ImageExample:
    """One image as the reference conversion describes it; `label` is 1-based, 0 being left to a background class."""

    filename: str
    synset: str
    label: int
    height: int
    width: int
    encoded: bytes
    """A JPEG."""

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """The serialised Example: what comes before the JPEG, the JPEG itself, what comes after it."""
        before = (
            _CHANNELS
            + _number(b"image/class/label", self.label)
            + _text(b"image/class/synset", self.synset)
            + _COLORSPACE
        )
        after = (
            _entry(b"image/filename", _bytes(self.filename.encode()))
            + _FORMAT
            + _number(b"image/height", self.height)
            + _number(b"image/width", self.width)
        )
        # the JPEG lies five messages deep; only their lengths depend on its size
        size = len(self.encoded)
        value = _head(1, size)
        feature = _head(_BYTES_LIST, len(value) + size)
        entry = _field(_KEY, b"image/encoded") + _head(_VALUE, len(feature) + len(value) + size)
        opening = entry + feature + value
        before += _head(_ENTRY, len(opening) + size) + opening
        return _head(_FEATURES, len(before) + size + len(after)) + before, self.encoded, after


def parse(data: bytes) -> dict[str, Feature]:
    """The features of any serialised Example, each a list of bytes, ints or floats.

    Raises:
        StoreError: the bytes are no Example.
    """
    try:
        found: dict[str, Feature] = {}
        for number, features in _fields(memoryview(data)):
            for tag, entry in _fields(features) if number == _FEATURES else ():
                if tag == _ENTRY:
                    parts = dict(_fields(entry))
                    found[bytes(parts[_KEY]).decode()] = _feature(parts.get(_VALUE, memoryview(b"")))
    except (ValueError, IndexError, KeyError, TypeError):
        raise StoreError("This record is no tf.train.Example: expected shards that this program wrote.") from None
    return found


def peek(data: bytes, keys: Collection[str]) -> dict[str, Feature] | None:
    """Some features of a serialised Example of which only the beginning is at hand; None unless all are in it."""
    found: dict[str, Feature] = {}
    try:
        _, at = _read_varint(memoryview(data), 1)  # the one field, features, whose content is cut off
        for tag, entry in _fields(memoryview(data)[at:]):
            parts = dict(_fields(entry)) if tag == _ENTRY else {}
            key = bytes(parts.get(_KEY, b"")).decode()
            if key in keys:
                found[key] = _feature(parts.get(_VALUE, memoryview(b"")))
            if len(found) == len(keys):
                return found if all(found.values()) else None
    except (ValueError, IndexError):
        pass
    return None


def image_example(features: Mapping[str, Feature]) -> ImageExample:
    """The image that parsed features describe.

    Raises:
        StoreError: one of its keys is missing or of another type.
    """

    try:
        filename, synset, encoded = (_only(features, key, bytes) for key in _BYTES_KEYS)
        label, height, width = (_only(features, key, int) for key in _INT64_KEYS)
        return ImageExample(filename.decode(), synset.decode(), label, height, width, encoded)
    except ValueError as error:
        raise StoreError(f"This record is no ImageNet image: {error}.") from None


_BYTES_KEYS = ("image/filename", "image/class/synset", "image/encoded")
_INT64_KEYS = ("image/class/label", "image/height", "image/width")


def _only(features: Mapping[str, Feature], key: str, kind: type[T]) -> T:
    values = features.get(key, [])
    if len(values) != 1 or not isinstance(values[0], kind):
        raise ValueError(f"expected one {kind.__name__} under {key!r}")
    return values[0]


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _head(number: int, size: int) -> bytes:
    return bytes((number << 3 | _BYTES,)) + _varint(size)


def _field(number: int, content: bytes) -> bytes:
    return _head(number, len(content)) + content


def _entry(key: bytes, feature: bytes) -> bytes:
    return _field(_ENTRY, _field(_KEY, key) + _field(_VALUE, feature))


def _bytes(value: bytes) -> bytes:
    return _field(_BYTES_LIST, _field(1, value))


def _int64(value: int) -> bytes:
    # a packed repeated field; negative numbers are sent as 64-bit two's complement
    return _field(_INT64_LIST, _field(1, _varint(value & 0xFFFFFFFFFFFFFFFF)))


@lru_cache(1 << 12)  # sizes and classes come again and again
def _number(key: bytes, value: int) -> bytes:
    return _entry(key, _int64(value))


@lru_cache(1 << 12)
def _text(key: bytes, value: str) -> bytes:
    return _entry(key, _bytes(value.encode()))


_CHANNELS = _number(b"image/channels", 3)
_COLORSPACE = _text(b"image/colorspace", "RGB")
_FORMAT = _text(b"image/format", "JPEG")


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("varint of more than 64 bits")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Field numbers and contents; a varint's content is the varint itself."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        start, kind = at, tag & 7
        if kind == _BYTES:
            size, start = _read_varint(data, at)
            at = start + size
        elif kind == _VARINT:
            _, at = _read_varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("content ends early")
        yield tag >> 3, data[start:at]


def _feature(data: memoryview) -> Feature:
    for number, content in _fields(data):
        if number == _BYTES_LIST:
            return [bytes(value) for _, value in _fields(content)]
        if number == _FLOAT_LIST:
            return [x for _, value in _fields(content) for x in value.cast("B").cast("f")]
        if number == _INT64_LIST:
            return [_signed(x) for _, value in _fields(content) for x in _varints(value)]
    return []


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
