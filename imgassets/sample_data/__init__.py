"""A small `$IMGASSETS_RAW` that is made, not downloaded: every kind of input, free of any licence, always the same."""

from collections.abc import Callable
from pathlib import Path

from imgassets.sample_data import ct_rate, dmd2, folders, ilsvrc2012, imagenet64

WRITERS: dict[str, Callable[[Path], None]] = {
    "ct_rate": ct_rate.write,
    "dmd2": dmd2.write,
    "imagenet64": imagenet64.write,
    "ilsvrc2012": ilsvrc2012.write,
    "folders/mini": folders.write_classes,
    "dense/mini": folders.write_labelled,
}
"""By dataset: writes its raw inputs below a folder."""
