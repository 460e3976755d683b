"""What a dataset's YAML file can ask for."""

from imgassets.components.image_folder import ImageFolder
from imgassets.components.npz_images import NpzImages

__all__ = ["ImageFolder", "NpzImages"]
