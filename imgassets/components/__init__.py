"""What a dataset's YAML file can ask for."""

from imgassets.components.activations import Activations
from imgassets.components.ct_volumes import CtVolumes
from imgassets.components.ilsvrc import IlsvrcTars
from imgassets.components.image_folder import ImageFolder
from imgassets.components.npz_images import NpzImages

__all__ = ["Activations", "CtVolumes", "IlsvrcTars", "ImageFolder", "NpzImages"]
