"""Image-folder datasets: `folders/<name>/<class>/<image>`, or images with label images, into image stores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import dagster as dg

from imgassets.classes import imagenet_classes
from imgassets.components.assets import dataset_definitions, listed_checksum
from imgassets.components.automation import Automation
from imgassets.components.declarations import NamedScaffolder, check_root, check_types
from imgassets.components.store_assets import Feed, Settings, StoreFormats, StoreSettings, store_assets
from imgassets.environment import Storage
from imgassets.images.pixels import MODES
from imgassets.io.artifacts import Artifacts
from imgassets.places import Place, slice_of
from imgassets.sources.base import Source
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import ClassOrder, class_folder, label_folder, listing, numbered_together
from imgassets.sources.resized import Resized
from imgassets.stores.registry import DEFAULT

DECIDING = ("size", "mode", "upright", "classes", "class_order")
"""Attributes that decide a store's bytes."""


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
    label_suffix: Annotated[
        str, dg.Resolver.default(description="What label images have at the end of their name: _mask of a_mask.png.")
    ] = ""
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
        Literal["folders", "imagenet"] | list[str],
        dg.Resolver.default(
            description="Labels: the folder's rank among those of all splits; its synset's class_id 0..999 in "
            "ImageNet; or its place in a list of names, which may have no images.",
            examples=[["cat", "dog"]],
        ),
    ] = "folders"
    class_order: Annotated[
        ClassOrder,
        dg.Resolver.default(
            description="Order that ranks count in: natural (class2, class10), text (class10, class2, as torchvision "
            "has it), or imagenet, which is classes: imagenet."
        ),
    ] = "natural"
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
        if self.class_order == "imagenet" and self.classes == "folders":
            self.classes, self.class_order = "imagenet", "natural"
        if self.class_order != "natural" and self.classes != "folders":
            raise ValueError(f"dataset {self.name}: give classes or class_order, not both: either says the order")
        if not isinstance(self.classes, str) and not 0 < len(self.classes) == len(set(self.classes)):
            raise ValueError(f"dataset {self.name}: classes has no names, or one twice")

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
            config | {"classes": self.classes, "class_order": self.class_order, "class_names": self._named(files)},
            {name: getattr(ImageFolder, name) for name in DECIDING} | {"class_names": None},
        )

    def _named(self, files: ImageFiles) -> list[str] | None:
        """All classes, where other splits have some that this one lacks and so decide its numbers."""
        own = {item.name.split("/")[0] for item in files.items} if self.splits and self.classes == "folders" else set()
        return list(files.class_to_idx) if own and own != set(files.class_to_idx) else None

    def _origin(self, storage: Storage, split: str, number: int) -> Place:
        path = self._files(split, storage.raw_root).items[number].path
        return slice_of(path, path.relative_to(storage.raw_root).as_posix(), 0, path.stat().st_size)

    def _files(self, split: str, raw: Path) -> ImageFiles:
        root = raw / self.folders[split]
        if self.labels is not None:
            labels = raw / self.labels
            labels = labels if self.splits is None else labels / split
            return label_folder(root, labels, mode=self.mode, suffix=self.label_suffix)
        return class_folder(
            root,
            mode=self.mode,
            class_to_idx=self._numbers(raw),
            order=self.class_order,
            on_error=self.settings.on_error,
            called=self.folders[split],
        )

    def _numbers(self, raw: Path) -> Mapping[str, int] | None:
        """Numbers of the classes, where one folder alone does not say them: one numbering is that of all splits."""
        if self.classes == "imagenet":
            return imagenet_classes().class_to_idx
        if self.classes != "folders":
            return {name: k for k, name in enumerate(self.classes)}
        if self.splits is None or len(self.splits) < 2:
            return None
        return numbered_together(raw, self.splits.values(), self.class_order)

    def _source(self, files: ImageFiles) -> Source:
        return files if self.size is None else Resized(files, self.size, self.mode, orient=self.upright)


def checksum_of(files: ImageFiles, storage: Storage) -> str:
    """XXH3-128 over names and checksums of all files, in order."""
    return listed_checksum(listing(files), storage)
