"""`open_store`: one door to every image store, as a torch map-style dataset.

Example:
    >>> store = open_store("store/imagenet64/memmap_store/train")
    >>> image, label = store[0]                                # uint8 (3, 64, 64), int
    >>> for images, labels in store.loader(256, shuffle=True): ...
    >>> torch.utils.data.DataLoader(store, batch_size=256, shuffle=True, num_workers=4)  # just as well
"""

from __future__ import annotations

import os

from imgassets.errors import BadInput
from imgassets.stores.archive import ArchiveStore
from imgassets.stores.artifacts.store import ArtifactStore
from imgassets.stores.ct import CtStore
from imgassets.stores.dataset import Store, Transform
from imgassets.stores.face import OpenStore
from imgassets.stores.records import RecordStore, holds_records


def open_store(
    path: str | os.PathLike[str],
    transform: Transform | None = None,
    target_transform: Transform | None = None,
    *,
    split: str = "",
    layer: str = "",
    raw: str | os.PathLike[str] = "",
) -> OpenStore:
    """Open what holds samples: an image store, a folder or an fsspec URL such as `s3://bucket/store` or
    `hf://datasets/name/store`; and folders of arrays, TFRecord shards, activations, PNG tars, and of the conversion
    guide's own code.

    A folder of CT shards opens as a `CtStore`, whose items are (volume, report, labels).

    `transform` is given the image as a Pillow image; `target_transform` the label, if it is
    one for every pixel as a Pillow image too. `split` says which, of a folder of TFRecord shards that holds several,
    and of a folder with `images.tar` and `reconstructed.tar`; `layer`, of activations. `raw` says where the archive of
    a `tar_index` lies, whose images are read from it as it is: the folder of raw inputs, by default `$IMGASSETS_RAW`,
    or the archive.

    Raises:
        MissingUpstream: there is no store, or no archive.
        BadInput: the folder holds several splits, tars or layers, and none was named; or the archive is another than
            the index was made from.
        StoreError: it is damaged, cut short, or of another version.
    """
    if ArchiveStore.lies_at(path):
        return ArchiveStore(os.fspath(path), transform, target_transform, raw)
    if raw:
        raise BadInput(f"raw= is for the index of an archive, and {os.fspath(path)} is none.")
    if CtStore.lies_at(path):
        return CtStore(path, transform, target_transform)
    if holds_records(os.fspath(path)):
        return RecordStore(os.fspath(path), transform, target_transform, split)
    if ArtifactStore.lies_at(path):
        return ArtifactStore(os.fspath(path), transform, target_transform, layer or split)
    return Store(path, transform, target_transform)
