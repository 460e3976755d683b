"""Datasets of torch, by the name of a function that gives them, into image stores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import dagster as dg

from imgassets.components.assets import dataset_definitions, listed_checksum
from imgassets.components.automation import Automation
from imgassets.components.declarations import NamedScaffolder, check_root, check_types
from imgassets.components.store_assets import Feed, Settings, StoreFormats, StoreSettings, store_assets
from imgassets.environment import Storage
from imgassets.errors import BadInput, ImgassetsError
from imgassets.functions import code_of, function_named, refuse_changed
from imgassets.images.pixels import MODES
from imgassets.io.artifacts import Artifacts
from imgassets.sources.base import Source
from imgassets.sources.dataset import from_dataset, refuse_chance
from imgassets.sources.walk import files_below
from imgassets.stores.registry import DEFAULT

DECIDING = ("dataset", "size", "mode", "version")
"""Attributes that decide a store's bytes, beside the arguments."""


class NamingScaffolder(NamedScaffolder):
    """What `dg scaffold defs` writes: a dataset of its folder's name, and of a function that is still to be named."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write `defs.yaml`."""
        dg.scaffold_component(request, {"name": request.target_path.name, "dataset": "package.module:function"})


@dg.scaffold_with(NamingScaffolder)
@dataclass
class TorchDataset(dg.Component, dg.Resolvable):
    """Any map-style torch dataset of (image, label), made by a function that is called with `root`.

    Example:
        >>> # imgassets/defs/food101/defs.yaml
        >>> # type: imgassets.components.TorchDataset
        >>> # attributes: {name: food101, dataset: "torchvision.datasets:Food101", splits: {train: {split: train}}}
    """

    name: Annotated[str, dg.Resolver.default(description="Name of the dataset: the first part of its asset keys.")]
    dataset: Annotated[
        str,
        dg.Resolver.default(
            description="package.module:function of what gives the dataset: it is called with root, a folder, and the "
            "arguments by name, and gives an object with a length and items (image, label).",
            examples=["torchvision.datasets:Food101"],
        ),
    ]
    root: Annotated[
        str | None,
        dg.Resolver.default(
            description="Folder below $IMGASSETS_RAW that the function gets as root; what lies there decides whether "
            "the stores are current. Default: folders/<name>."
        ),
    ] = None
    arguments: Annotated[
        dict[str, Any],
        dg.Resolver.default(description="What else the function is called with.", examples=[{"classes": 10}]),
    ] = field(default_factory=dict)
    splits: Annotated[
        dict[str, dict[str, Any]] | None,
        dg.Resolver.default(
            description="What the function is called with for each split; default: one partition, `all`.",
            examples=[{"train": {"train": True}, "val": {"train": False}}],
        ),
    ] = None
    stores: StoreFormats = field(default_factory=lambda: list(DEFAULT))
    size: Annotated[
        tuple[int, int] | None,
        dg.Resolver.default(
            description="[height, width] all images get; without it images stay as the dataset gives them.",
            examples=[[224, 224]],
        ),
    ] = None
    mode: Annotated[str, dg.Resolver.default(description="Pillow's mode of images that get a size, RGB or L.")] = "RGB"
    version: Annotated[
        int,
        dg.Resolver.default(
            description="Another number makes the stores again: for changes that are neither in the function's own "
            "file nor below root."
        ),
    ] = 1
    settings: Settings = field(default_factory=StoreSettings)
    automation: Automation = "manual"

    def __post_init__(self) -> None:
        check_types(self)
        check_root("root", self.root)
        module, _, function = self.dataset.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), function)):
            raise BadInput(f"dataset is {self.dataset!r}: name a function as package.module:function.")
        if self.size is not None and min(self.size) < 1:
            raise BadInput(f"size is {list(self.size)}: expected [height, width] of at least 1 each.")
        if self.mode not in MODES:
            raise BadInput(f"mode is {self.mode!r}: choose one of {', '.join(MODES)}.")
        if self.splits is not None and not self.splits:
            raise BadInput("splits is {}: expected at least one split, or none of it for the one partition `all`.")
        for split in self.calls:
            _check_arguments(split, self.given(split))

    @property
    def calls(self) -> Mapping[str, Mapping[str, Any]]:
        """What the function is called with for each partition alone."""
        return {"all": {}} if self.splits is None else self.splits

    def given(self, split: str) -> dict[str, Any]:
        """All that the function is called with but `root`."""
        return {**self.arguments, **self.calls[split]}

    @property
    def folder(self) -> str:
        """The folder of the files, below the raw root."""
        return self.root or f"folders/{self.name}"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per format."""
        made = store_assets(self.name, list(self.calls), self.stores, self.settings, self._feed)
        return dataset_definitions(context, self.name, made, self.automation)

    def _feed(self, split: str, storage: Storage, artifacts: Artifacts) -> Feed:
        root = storage.raw_root / self.folder
        if not root.is_dir():
            raise BadInput(
                f"{root} is no folder: put the files there that {self.dataset} reads, or name another root; an empty "
                "one will do where it reads none."
            )
        arguments = self.given(split)
        config = {"dataset": self.dataset, "size": self.size and list(self.size), "mode": self.mode}
        return Feed(
            lambda: self._source(root, arguments),
            {self.folder: listed_checksum(files_below(root), storage)},
            {**config, "arguments": arguments, "version": self.version, "code": code_of(self._module)},
            {"size": None, "mode": TorchDataset.mode, "arguments": {}, "version": TorchDataset.version},
        )

    @property
    def _module(self) -> str:
        return self.dataset.partition(":")[0]

    def _source(self, root: Path, arguments: Mapping[str, Any]) -> Source:
        make = function_named(self.dataset, "dataset")
        refuse_changed(self._module)
        try:
            dataset = make(root=str(root), **arguments)
        except ImgassetsError:
            raise
        except Exception as error:  # of somebody else's code
            called = ", ".join(("root", *arguments))
            raise BadInput(f"{self.dataset} called with {called}: {type(error).__name__}: {error}.") from error
        source = from_dataset(dataset, size=self.size, mode=self.mode if self.size else "")
        refuse_chance(source)
        return source


def _check_arguments(split: str, arguments: Mapping[str, Any]) -> None:
    if "root" in arguments:
        raise BadInput(f"{split} gives the argument root: it is the attribute root, a folder below $IMGASSETS_RAW.")
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{split} has arguments that are no text, numbers, lists or mappings: {error}; put a date in quotes."
        ) from error
