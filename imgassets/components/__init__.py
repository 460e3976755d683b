"""What a dataset's YAML file can ask for."""

from imgassets.components.ct.volumes import CtVolumes
from imgassets.components.folder.images import ImageFolder
from imgassets.components.ilsvrc.tars import IlsvrcTars
from imgassets.components.network.activations import Activations
from imgassets.components.npz.images import NpzImages
from imgassets.components.torch_dataset.items import TorchDataset

__all__ = ["Activations", "CtVolumes", "IlsvrcTars", "ImageFolder", "NpzImages", "TorchDataset"]
