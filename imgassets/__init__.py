"""From raw image and CT archives to training-ready files: what a training script imports."""

from imgassets.store import Store, collate, open_store

__all__ = ["Store", "collate", "open_store"]
