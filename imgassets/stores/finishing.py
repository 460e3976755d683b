"""What becomes of a batch's images before they are handed out: their numbers, and where channels lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgassets.errors import BadInput

if TYPE_CHECKING:
    import torch

Memory = Callable[[int, int], "torch.Tensor"]
"""Memory for so many rows of so many bytes: uint8 (rows, bytes)."""


@dataclass(frozen=True)
class Finish:
    """Images (n, channels, height, width) of one size as a network takes them.

    Raises:
        BadInput: `normalize` is no pair of means and standard deviations, or `dtype` cannot hold fractions.
    """

    normalize: tuple[Sequence[float], Sequence[float]] | None = None
    """Mean and standard deviation of each channel, or one of all, of values from 0 to 1."""
    dtype: torch.dtype | None = None
    """Of the result; float32 where images are normalized, else the stored one. Values are not scaled to it."""
    channels_last: bool | None = None
    """Whether the channels of a pixel lie together in memory; as they are stored where it is not said."""

    def __post_init__(self) -> None:
        if self.normalize is None:
            return
        pair = [np.asarray(values, float) for values in self.normalize]
        if len(pair) != 2 or pair[0].ndim != 1 or pair[0].shape != pair[1].shape or not _sound(*pair):
            raise BadInput(
                f"normalize {self.normalize!r:.100}: expected means and standard deviations above 0, one a channel, of "
                "values from 0 to 1."
            )
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise BadInput(
                f"normalize makes fractions, which {self.dtype} does not hold: leave dtype out, or take a float."
            )

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self == Finish()

    def __call__(self, images: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The images in memory of their own.

        Raises:
            BadInput: they have another number of channels, or are no images.
        """
        import torch

        if images.ndim != 4:
            raise BadInput(f"normalize, dtype and channels_last are for images, not for rows of {[*images.shape[1:]]}.")
        dtype = self.dtype or (images.dtype if self.normalize is None else torch.float32)
        count, channels, height, width = images.shape
        room = memory(count, channels * height * width * dtype.itemsize).view(dtype)
        last = self.channels_last if self.channels_last is not None else images.stride(1) == 1
        if last:
            out = room.view(count, height, width, channels).permute(0, 3, 1, 2)
        else:
            out = room.view(count, channels, height, width)
        if self.normalize is None:
            return out.copy_(images)
        mean, factor = (torch.from_numpy(v).view(1, -1, 1, 1) for v in self._numbers(images.dtype))
        if mean.shape[1] not in {1, channels}:
            raise BadInput(f"normalize has {mean.shape[1]} means, the images have {channels} channels.")
        values = images if images.dtype == torch.uint8 else images.to(torch.float32)
        if dtype == torch.float32:
            return torch.sub(values, mean, out=out).mul_(factor)
        return out.copy_((values - mean).mul_(factor))

    def _numbers(self, dtype: torch.dtype) -> tuple[Any, Any]:
        """Mean, and what the difference from it is multiplied by, of values as they are stored."""
        import torch

        assert self.normalize is not None
        largest = 1 if dtype.is_floating_point or dtype == torch.bool else torch.iinfo(dtype).max
        mean, deviation = (np.asarray(values, float) * largest for values in self.normalize)
        return mean.astype(np.float32), (1 / deviation).astype(np.float32)


def _sound(mean: Any, deviation: Any) -> bool:
    return bool(np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all())
