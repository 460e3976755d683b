"""Image folders as the network sees them: ImageNet's class folders, decoded and brought to its size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import dagster as dg
import numpy as np

from imgassets.classes import NO_CLASS, imagenet_classes
from imgassets.components.folder.images import ImageFolder, checksum_of
from imgassets.components.network.inputs import OpenInput, Rows
from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.io.artifacts import Artifacts
from imgassets.models.extract import Batch
from imgassets.models.resize import Images, Resize, find_resize, resize_image
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import class_folder


@dataclass(frozen=True)
class FolderInput:
    """The raw files of an image-folder data set, a partition for each split."""

    dataset: ImageFolder
    resize: str = "lanczos_stretch"
    class_conditioning: bool = True
    """Whether every class folder must be one of the 1000 synsets."""
    source: str = "imagenet_real"

    def __post_init__(self) -> None:
        if self.dataset.labels is not None:
            raise BadInput(f"{self.dataset.name}: its labels are images; the network needs a class for each image")

    @property
    def splits(self) -> Mapping[str, list[str]]:
        """Each split on its own."""
        return {split: [split] for split in self.dataset.folders}

    def series(self, partition: str) -> str:
        """That of the folder."""
        return f"{self.dataset.name}/{partition}"

    @property
    def ins(self) -> dict[str, dg.AssetIn]:
        """None: the files are read as they are."""
        return {}

    @property
    def settings(self) -> dict[str, Any]:
        """How images get the network's size."""
        return {"resize": self.resize, "upright": self.dataset.upright}

    @property
    def defaults(self) -> dict[str, Any]:
        """As the attributes'."""
        return {"resize": FolderInput.resize, "upright": ImageFolder.upright}

    def open(self, storage: Storage, artifacts: Mapping[str, Artifacts]) -> OpenInput:
        """As a reader that lists each folder once."""
        return FolderReader(self.dataset, storage, find_resize(self.resize), self.class_conditioning)


class FolderReader:
    """Reads the images of class folders, classes in natural order."""

    def __init__(self, dataset: ImageFolder, storage: Storage, resize: Resize, class_conditioning: bool) -> None:
        self._dataset, self._storage, self._resize = dataset, storage, resize
        self._class_conditioning = class_conditioning
        self._files, self._class_ids = cache(self._listed), cache(self._known)

    def _listed(self, split: str) -> ImageFiles:
        return class_folder(self._storage.raw_root / self._dataset.folders[split])

    def rows(self, partition: str) -> tuple[Rows, Rows]:
        """Numbered from 0 in each split; a class that is none of the 1000 synsets is `NO_CLASS`.

        Raises:
            BadInput: there is such a class, and the network is to be told the classes.
        """
        class_ids = self._class_ids(partition)
        return np.arange(len(class_ids)), class_ids

    def _known(self, partition: str) -> Rows:
        files = self._files(partition)
        ranks = imagenet_classes().class_to_idx
        unknown = [name for name in files.class_to_idx if name not in ranks]
        if unknown and self._class_conditioning:
            raise BadInput(
                f"{self._dataset.folders[partition]}/{unknown[0]} is none of the {len(ranks)} classes: remove or "
                "rename the folder, or set class_conditioning: false"
            )
        class_ids = np.array([ranks.get(name, NO_CLASS) for name in files.class_to_idx], np.int64)
        return class_ids[[item.label for item in files.items]]

    def span(self, partition: str) -> tuple[int, int]:
        """All of the split."""
        return 0, len(self._files(partition).items)

    def index_inputs(self, partition: str) -> dict[str, str]:
        """Names and bytes of all files."""
        return {self._dataset.folders[partition]: checksum_of(self._files(partition), self._storage)}

    def pixel_inputs(self, partition: str) -> dict[str, str]:
        """The same files."""
        return {}

    def samples(self, partition: str, rows: Rows, batch: int, size: int) -> Iterator[Batch]:
        """Files are read and decoded in their order."""
        files = self._files(partition)
        class_ids = self._class_ids(partition)
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            names = tuple(files.name(i) for i in some.tolist())
            damaged: dict[str, str] = {}
            images = np.stack([self._image(files, i, size, damaged) for i in some.tolist()])
            yield Batch(some, names, class_ids[some], images, damaged)

    def _image(self, files: ImageFiles, index: int, size: int, damaged: dict[str, str]) -> Images:
        from imgassets.images.header import BadImage
        from imgassets.images.pixels import examine
        from imgassets.sources.files import read_item

        item = files.items[index]
        try:
            header, pixels = examine(read_item(item), "RGB", self._dataset.upright)
        except BadImage as error:
            raise BadInput(f"{item.path} cannot be used: {error}; mend or remove it") from error
        if header.warning is not None:
            damaged[item.name] = header.warning
        return resize_image(pixels, size, self._resize, str(item.path))
