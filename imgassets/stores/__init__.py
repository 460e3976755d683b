"""Image data sets on disk: opened, read, written, converted."""

from imgassets.stores.artifacts.store import ArtifactStore
from imgassets.stores.ct import CtStore
from imgassets.stores.dataset import Store, Transform
from imgassets.stores.face import OpenStore
from imgassets.stores.items import collate
from imgassets.stores.opening import open_store
from imgassets.stores.records import RecordStore

__all__ = ["ArtifactStore", "CtStore", "OpenStore", "RecordStore", "Store", "Transform", "collate", "open_store"]
