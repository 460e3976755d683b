"""What a dataset's YAML file can ask for."""

from imgassets.components.ilsvrc import IlsvrcTars
from imgassets.components.npz_images import NpzImages

__all__ = ["IlsvrcTars", "NpzImages"]
