"""What a full read of a batch of images found, and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.sources.npz import NpzMember
from imgassets.sources.pixel_statistics import Channel


@dataclass(frozen=True)
class Inspection:
    """What one full read of a batch found; that it exists says that the CRC-32 of every member it names is right."""

    file: str
    resolution: int
    rows: int
    class_counts: tuple[int, ...]
    """Rows of each label: [0] of label 1, … [999] of label 1000."""
    label_min: int
    label_max: int
    channels: tuple[Channel, ...]
    """Red, green, blue."""
    mean_difference: float | None
    """Largest absolute difference, over pixels, of this batch's mean and the declared one; None where none is declared.
    The declared mean is that of all train batches, so this is small, but not zero."""
    members: tuple[NpzMember, ...]
    ignored_members: tuple[str, ...]
    pixel_sums: NDArray[np.int64] = field(repr=False, compare=False)
    """int64 (3 × resolution²,): added up over all batches and divided by all rows, the mean of the split."""
    warning: str | None = None
    """What makes the pixels doubtful though every byte is right."""

    def report(self) -> dict[str, Any]:
        """The same for `json.dumps`; equal files give equal text."""
        return {
            "file": self.file,
            "resolution": self.resolution,
            "rows": self.rows,
            "labels": {
                "min": self.label_min,
                "max": self.label_max,
                "classes_present": sum(count > 0 for count in self.class_counts),
                "counts": list(self.class_counts),
            },
            "channels": {name: asdict(channel) for name, channel in zip("RGB", self.channels, strict=True)},
            "mean_difference": self.mean_difference,
            "members": [
                {
                    "name": member.name,
                    "dtype": member.dtype.str,
                    "shape": list(member.shape),
                    "method": member.method,
                    "bytes": member.bytes,
                    "packed_bytes": member.packed_bytes,
                    "crc32": f"{member.crc:08x}",
                    "crc_verified": True,
                    "data_offset": member.data_offset,
                }
                for member in self.members
            ],
            "ignored_members": {"count": len(self.ignored_members), "first": list(self.ignored_members[:10])},
            **({"warning": self.warning} if self.warning else {}),
        }
