"""What a dataset's YAML file can ask for."""

from imgassets.components.ct.volumes import CtVolumes
from imgassets.components.folder.images import ImageFolder
from imgassets.components.ilsvrc.tars import IlsvrcTars
from imgassets.components.network.activations import Activations
from imgassets.components.npz.images import NpzImages

__all__ = ["Activations", "CtVolumes", "IlsvrcTars", "ImageFolder", "NpzImages"]
