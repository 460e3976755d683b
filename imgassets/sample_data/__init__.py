"""A small `$IMGASSETS_RAW` that is made, not downloaded: every kind of input, free of any licence, always the same."""

from collections.abc import Callable
from pathlib import Path

from imgassets.sample_data import ct_rate, ilsvrc2012, imagenet64

WRITERS: dict[str, Callable[[Path], None]] = {
    "ct_rate": ct_rate.write,
    "imagenet64": imagenet64.write,
    "ilsvrc2012": ilsvrc2012.write,
}
"""By dataset: writes its raw inputs below a folder."""
