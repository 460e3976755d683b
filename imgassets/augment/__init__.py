"""Images of one size out of files of any: crops for `store.loader(augment=…)`."""

from __future__ import annotations

from imgassets.augment.crops import Augment, CenterCrop, Crop, RandomResizedCrop, Resize

__all__ = ["Augment", "CenterCrop", "Crop", "RandomResizedCrop", "Resize"]
