"""All codecs by name: those of this package, and those that other packages register as entry points."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules

from imgassets.errors import BadInput
from imgassets.stores import codecs
from imgassets.stores.codec import Codec

GROUP = "imgassets.codecs"
"""Entry points of a package with codecs: `lance = "my_package:CODEC"`."""
DEFAULT = ("memmap", "hdf5", "parquet", "ipc", "tar")
"""What a dataset makes that names no formats. They never change: more would be added to everybody's graph."""
TAKEN = {
    *(
        "activations",
        "arrays",
        "ct_card",
        "ct_index",
        "ct_manifest",
        "ct_shard",
        "embedding",
        "index",
        "reconstructions",
    ),
    *("systemds", "tfds", "tfrecords"),
}
"""Names of other formats, whose IO managers (`index_io`, …) a codec's would replace."""
_MODULES = [import_module(f"{codecs.__name__}.{module.name}") for module in iter_modules(codecs.__path__)]
_FOUND: dict[str, Codec] = {module.CODEC.name: module.CODEC for module in _MODULES if hasattr(module, "CODEC")}
BUNDLED = {name: _FOUND[name] for name in (*DEFAULT, *sorted(_FOUND.keys() - set(DEFAULT)))}
"""The `CODEC` of every module of `codecs` that has one."""


@cache
def codec_names() -> tuple[str, ...]:
    """Names of all codecs, none of another package loaded yet; those that it could not have are left out."""
    return *BUNDLED, *sorted({one.name for one in entry_points(group=GROUP) if _is_free(one.name)})


@cache
def codec_of(name: str) -> Codec:
    """A codec, given as `memmap` or `memmap/1`.

    Raises:
        BadInput: there is none of this name or version, two packages have one, or it cannot be loaded.
    """
    base, _, version = name.partition("/")
    codec = BUNDLED.get(base) or _load(base, name)
    if version and name not in codec.formats:
        raise BadInput(f"This library reads {', '.join(codec.formats)}, not {name}: rebuild the store.")
    return codec


def _load(name: str, asked: str) -> Codec:
    found = {_source(one): one for one in entry_points(group=GROUP) if one.name == name}
    if not found:
        known = ", ".join(codec_names())
        raise BadInput(
            f"There is no store format {asked!r}: choose one of {known}, or install the package that has it."
        )
    if len(found) > 1:
        raise BadInput(f"{' and '.join(sorted(found))} both have a codec {name!r}: uninstall one of them.")
    ((source, point),) = found.items()
    if not _is_free(name):
        raise BadInput(f"The codec {name!r} of {source} needs another name: a lower-case word no other format has.")
    try:
        codec = point.load()
    except (Exception, SystemExit) as error:
        raise BadInput(f"The codec {name!r} of {source} cannot be loaded: {error!r}.") from error
    if not isinstance(codec, Codec) or codec.name != name:
        raise BadInput(f"{point.value} of {source} is no Codec of the name {name!r}.")
    return codec


def _is_free(name: str) -> bool:
    return re.fullmatch("[a-z][a-z0-9_]*", name) is not None and name not in TAKEN and name not in BUNDLED


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
