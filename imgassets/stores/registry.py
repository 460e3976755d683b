"""All codecs by name: those of this package, and those that other packages register as entry points."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from imgassets.errors import BadInput
from imgassets.stores.codec import Codec

GROUP = "imgassets.codecs"
"""Entry points of a package with codecs: `zarr = "imgassets_zarr:CODEC"`."""
BUNDLED = ("memmap", "hdf5", "parquet", "ipc", "tar")
"""Each a module of `codecs` with a `CODEC`."""


@cache
def codec_names() -> tuple[str, ...]:
    """Names of all codecs, none of another package loaded yet; a bundled one's name cannot be taken."""
    return *BUNDLED, *sorted({one.name for one in _registered()} - set(BUNDLED))


@cache
def codec_of(name: str) -> Codec:
    """A codec, given as `memmap` or `memmap/1`.

    Raises:
        BadInput: there is none of this name or version, two packages have one, or it cannot be loaded.
    """
    base, _, version = name.partition("/")
    if base not in codec_names():
        raise BadInput(f"There is no store format {name!r}: choose one of {', '.join(codec_names())}.")
    codec = import_module(f"imgassets.stores.codecs.{base}").CODEC if base in BUNDLED else _load(base)
    assert isinstance(codec, Codec)
    if version and name not in codec.formats:
        raise BadInput(f"This library reads {', '.join(codec.formats)}, not {name}: rebuild the store.")
    return codec


def _load(name: str) -> Codec:
    found = [one for one in _registered() if one.name == name]
    if len(found) > 1:
        raise BadInput(f"{' and '.join(map(_source, found))} both have a codec {name!r}: uninstall one of them.")
    try:
        codec = found[0].load()
    except Exception as error:
        raise BadInput(f"The codec {name!r} of {_source(found[0])} cannot be loaded: {error!r}.") from error
    if not isinstance(codec, Codec) or codec.name != name or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise BadInput(f"{found[0].value} of {_source(found[0])} is no Codec of the name {name!r}, a lower-case word.")
    return codec


def _registered() -> list[EntryPoint]:
    unique = {(_source(one), one.name, one.value): one for one in entry_points(group=GROUP)}
    return [unique[key] for key in sorted(unique)]


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
