"""TFRecord shards of ImageNet images: the records the reference conversion writes, and folders of them read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import xxhash

from imgassets.formats import jpeg, tfrecord
from imgassets.formats.tf_example import ImageExample

OVERHEAD = 1 << 9
"""Most bytes of a record beside the JPEG and its file name."""
RECORD_OVERHEAD = tfrecord.OVERHEAD + sum(
    map(len, ImageExample("n01440764_10026.JPEG", "n01440764", 500, 375, 500, bytes(1 << 16)).parts()), -(1 << 16)
)
"""Bytes of a record beside the JPEG, of an image like most."""


class SourceImage(Protocol):
    """An image and what is known of it."""

    @property
    def name(self) -> str: ...
    @property
    def synset(self) -> str: ...
    @property
    def label(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def ordinary(self) -> bool: ...
    @property
    def encoded(self) -> bytes: ...


@dataclass(frozen=True)
class ShardFacts:
    """What a shard came to hold."""

    records: int
    bytes: int
    names: str
    """Hexadecimal XXH3-128 of the file names, each followed by a newline: which images there are, and their order."""
    converted: list[str]
    """Names of the images that were no gray or RGB JPEG."""


def names_digest(names: Iterable[str]) -> str:
    """`ShardFacts.names` of a shard of these images."""
    return xxhash.xxh3_128_hexdigest("".join(f"{name}\n" for name in names).encode())


def write(sink: tfrecord.Sink, images: Iterable[SourceImage]) -> ShardFacts:
    """Write one shard. Gray and RGB JPEGs keep their bytes; anything else becomes an RGB JPEG of quality 100.

    No images make an empty file, as the reference's trailing shards of a small release are.

    Raises:
        Damaged: an image that must be converted cannot be decoded.
    """
    names: list[str] = []
    converted: list[str] = []

    def parts() -> Iterator[tuple[bytes, bytes, bytes]]:
        for image in images:
            encoded = image.encoded
            names.append(image.name)
            if not image.ordinary:
                converted.append(image.name)
                encoded = jpeg.as_jpeg(encoded)
            yield ImageExample(image.name, image.synset, image.label, image.height, image.width, encoded).parts()

    records, nbytes = tfrecord.write(sink, parts())
    return ShardFacts(records, nbytes, names_digest(names), converted)
