"""The contract suite on TFRecord shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imgassets.environment import Storage
from imgassets.formats.tf_example import image_example, parse
from imgassets.io.base import ArtifactIOManager
from imgassets.io.tfrecords import TFRecordsIOManager
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.tar_index import SHARD_COLUMNS, TarImages
from imgassets.testing.io_manager import IOManagerContract
from tests.pictures import jpeg
from tests.tars import tar


class TestTFRecords(IOManagerContract):
    @pytest.fixture(autouse=True)
    def _archives(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "archives"

    def manager(self, storage: Storage) -> ArtifactIOManager:
        return TFRecordsIOManager(storage=storage)

    def images(self, key: str) -> dict[str, bytes]:
        """One image more for every key, the last of them CMYK."""
        count = self.keys.index(key) + 1
        return {f"{key}_{i}.JPEG": jpeg(i, mode="CMYK" if i == 3 else "RGB") for i in range(count)}

    def content(self, key: str) -> TarImages:
        folder = self.folder / key
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "ILSVRC2012_img_val.tar").write_bytes(tar(self.images(key).items()))
            (folder / "synset_labels.txt").write_text("n01440764\n" * len(self.images(key)))
        source = Ilsvrc(folder, ("validation",))
        return TarImages(source.archive("validation"), source.index("validation").table.select(SHARD_COLUMNS))

    def check(self, handle: Any, key: str) -> None:
        wanted = self.images(key)
        found = [image_example(parse(record)) for record in handle]
        assert [image.filename for image in found] == list(wanted)
        for image in found:
            assert (image.encoded == wanted[image.filename]) == (not image.filename.endswith("_3.JPEG"))
            assert (image.height, image.width, image.label) == (48, 64, 1)
