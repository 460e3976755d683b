"""TFRecord shards of ImageNet images: the records the reference conversion writes, and folders of them read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgassets.classes import imagenet_classes
from imgassets.columns import numbers
from imgassets.formats import tfrecord
from imgassets.formats.record_index import NONE, RecordIndex
from imgassets.formats.tf_example import ImageExample, example_bytes
from imgassets.images.pixels import as_jpeg

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import SupportsWrite

RECORD_COLUMNS = ["name", "synset", "label", "height", "width", "size", "problem"]
"""What `record_bytes` reads of an index."""
BLOCK_ROWS = 1 << 16
"""As many rows at a time as leave the steps between in the processor's cache."""
OVERHEAD = 1 << 9
"""Most bytes of a record beside the JPEG and its file name."""


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
    index: RecordIndex


def names_digest(names: Iterable[str]) -> str:
    """`ShardFacts.names` of a shard of these images."""
    return xxhash.xxh3_128_hexdigest("".join(f"{name}\n" for name in names).encode())


def record_bytes(rows: pa.Table) -> NDArray[np.int64]:
    """(rows,): bytes of each image's record, given `RECORD_COLUMNS`.

    An image that has to be converted to a JPEG is taken to keep its size; one with a `problem` has no record.
    """
    blocks = [_record_bytes(rows.slice(at, BLOCK_ROWS)) for at in range(0, len(rows), BLOCK_ROWS)]
    return np.concatenate([np.empty(0, np.int64), *blocks])


def _record_bytes(rows: pa.Table) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    sound = rows["problem"].is_null()
    good = rows.filter(sound)
    texts: list[Any] = [good[name].cast(pa.string()) for name in ("name", "synset")]
    columns: list[Any] = [*map(pc.binary_length, texts), *(good[name] for name in ("label", "height", "width", "size"))]
    sizes = np.zeros(len(rows), np.int64)
    sizes[numbers(sound.cast(pa.uint8())).astype(bool)] = tfrecord.OVERHEAD + example_bytes(
        *(numbers(column).astype(np.int64) for column in columns)
    )
    return sizes


def write(sink: SupportsWrite[bytes], images: Iterable[SourceImage]) -> ShardFacts:
    """Write one shard. Gray and RGB JPEGs keep their bytes; anything else becomes an RGB JPEG of quality 100.

    No images make an empty file, as the reference's trailing shards of a small release are.

    Raises:
        BadImage: an image that must be converted cannot be decoded.
    """
    names: list[str] = []
    converted: list[str] = []
    entries: list[tuple[int, int, int, int]] = []
    ranks = imagenet_classes().class_to_idx

    def parts() -> Iterator[tuple[bytes, bytes, bytes]]:
        for image in images:
            encoded = image.encoded
            names.append(image.name)
            if not image.ordinary:
                converted.append(image.name)
                encoded = as_jpeg(encoded)
            example = ImageExample(image.name, image.synset, image.label, image.height, image.width, encoded)
            before, _, after = parts = example.parts()
            rest = len(after) + tfrecord.OVERHEAD - tfrecord.HEAD
            entries.append((tfrecord.HEAD + len(before), len(encoded), rest, ranks.get(image.synset, NONE)))
            yield parts

    records, nbytes = tfrecord.write(sink, parts())
    return ShardFacts(records, nbytes, names_digest(names), converted, RecordIndex.of(entries))
