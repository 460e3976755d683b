"""Image-folder datasets: `folders/<name>/<class>/<image>`, or images with label images, into image stores."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import dagster as dg
import xxhash

from imgassets.classes import imagenet_classes
from imgassets.components.assets import dataset_definitions
from imgassets.components.automation import Automation
from imgassets.components.declarations import NamedScaffolder, check_root, check_types
from imgassets.components.store_assets import Feed, Settings, StoreFormats, StoreSettings, store_assets
from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.images.pixels import MODES
from imgassets.io.artifacts import Artifacts
from imgassets.places import Place, slice_of
from imgassets.sources.base import Source
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import class_folder, label_folder, listing
from imgassets.sources.resized import Resized
from imgassets.stores.registry import DEFAULT


@dg.scaffold_with(NamedScaffolder)
@dataclass
class ImageFolder(dg.Component, dg.Resolvable):
    """A dataset of image files: a folder per class, or with `labels` a label image for every image.

    Example:
        >>> # imgassets/defs/caltech256/defs.yaml
        >>> # type: imgassets.components.ImageFolder
        >>> # attributes: {name: caltech256, root: folders/caltech256, stores: [memmap, ipc], size: [224, 224]}
    """

    name: Annotated[str, dg.Resolver.default(description="Name of the dataset: the first part of its asset keys.")]
    root: Annotated[
        str | None,
        dg.Resolver.default(
            description="Folder below $IMGASSETS_RAW; default: folders/<name>. Its partition is `all`."
        ),
    ] = None
    splits: Annotated[
        dict[str, str] | None, dg.Resolver.default(description="Folder of each split, instead of root: {train: …}.")
    ] = None
    labels: Annotated[
        str | None,
        dg.Resolver.default(
            description="Folder of label images, one for every image and of its name; with splits a folder of each "
            "split's name below it."
        ),
    ] = None
    stores: StoreFormats = field(default_factory=lambda: list(DEFAULT))
    size: Annotated[
        tuple[int, int] | None,
        dg.Resolver.default(
            description="[height, width] all images get; without it the files are kept as they are.",
            examples=[[224, 224]],
        ),
    ] = None
    mode: Annotated[str, dg.Resolver.default(description="Pillow's mode of the pixels, e.g. RGB or L.")] = "RGB"
    upright: Annotated[bool, dg.Resolver.default(description="Turn resized images as their EXIF orientation asks.")] = (
        False
    )
    classes: Annotated[
        Literal["folders", "imagenet"],
        dg.Resolver.default(
            description="Labels: the folder's rank in natural order, or its synset's class_id 0..999 in ImageNet."
        ),
    ] = "folders"
    settings: Settings = field(default_factory=StoreSettings)
    automation: Automation = "manual"

    def __post_init__(self) -> None:
        check_types(self)
        for name, folder in {"root": self.root, "labels": self.labels, **(self.splits or {})}.items():
            check_root(name, folder)
        if self.root is not None and self.splits is not None:
            raise ValueError(f"dataset {self.name}: give root or splits, not both")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"dataset {self.name}: size is [height, width] of at least 1 each, not {list(self.size)}")
        if self.mode not in MODES:
            raise ValueError(f"dataset {self.name}: mode is one of {', '.join(MODES)}, not {self.mode!r}")

    @property
    def folders(self) -> dict[str, str]:
        """Folder of each partition, below the raw root."""
        return self.splits or {"all": self.root or f"folders/{self.name}"}

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per format."""
        made = store_assets(self.name, list(self.folders), self.stores, self.settings, self._feed, origin=self._origin)
        return dataset_definitions(context, self.name, made, self.automation)

    def _feed(self, split: str, storage: Storage, artifacts: Artifacts) -> Feed:
        files = self._files(split, storage.raw_root)
        config = {"size": self.size and list(self.size), "mode": self.mode, "upright": self.upright}
        return Feed(
            lambda: self._source(files),
            {self.folders[split]: checksum_of(files, storage)},
            config | {"classes": self.classes},
            {name: getattr(ImageFolder, name) for name in ("size", "mode", "upright", "classes")},
        )

    def _origin(self, storage: Storage, split: str, number: int) -> Place:
        path = self._files(split, storage.raw_root).items[number].path
        return slice_of(path, path.relative_to(storage.raw_root).as_posix(), 0, path.stat().st_size)

    def _files(self, split: str, raw: Path) -> ImageFiles:
        root = raw / self.folders[split]
        if self.labels is not None:
            labels = raw / self.labels
            return label_folder(root, labels if self.splits is None else labels / split, mode=self.mode)
        numbers = None
        if self.classes == "imagenet":
            numbers = imagenet_classes().class_to_idx
        return class_folder(root, mode=self.mode, class_to_idx=numbers, on_error=self.settings.on_error)

    def _source(self, files: ImageFiles) -> Source:
        return files if self.size is None else Resized(files, self.size, self.mode, orient=self.upright)


def checksum_of(files: ImageFiles, storage: Storage) -> str:
    """XXH3-128 over names and checksums of all files, in order."""
    digest = xxhash.xxh3_128()
    checksums = storage.vault.checksums
    for name, path in listing(files):
        try:
            checksum = checksums.of(path) if path.is_file() else "not a file"
        except BadInput:  # what cannot be read is told when it is needed, with the rest of what is wrong
            checksum = "unreadable"
        digest.update(f"{name}\0{checksum}\n".encode())
    return digest.hexdigest()
