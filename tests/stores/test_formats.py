"""The store contract on all five formats, and what other programs make of their bytes."""

from __future__ import annotations

import gc
import io
import json
import tarfile
from pathlib import Path

import h5py  # noqa: TID253
import numpy as np
import pyarrow as pa  # noqa: TID253
import pyarrow.parquet as pq  # noqa: TID253
import pytest
import torch  # noqa: TID253
import webdataset as wds  # noqa: TID253
from PIL import Image

from imgassets.errors import BadInput, StoreError
from imgassets.formats import npy
from imgassets.sources.arrays import ArraySource
from imgassets.sources.folder import class_folder
from imgassets.stores import open_store
from imgassets.stores.registry import BUNDLED
from imgassets.stores.writing import StorePlan
from imgassets.testing.codec import fetch_by_workers
from imgassets.testing.making import arrays, content, encoded, folder, make, sources, write
from tests.stores.contract import StoreContract


class TestMemmap(StoreContract):
    format = "memmap"

    def test_numpy_maps_the_shards(self, tmp_path: Path) -> None:
        source = arrays(20)
        path = make(tmp_path, source, self.format, images_per_file=15)
        images = [np.load(path / f"shard-00000{k}.image.npy", mmap_mode="r") for k in (0, 1)]
        np.testing.assert_array_equal(np.concatenate(images), content(source)["image"])
        assert images[0].offset == 4096
        labels = [np.load(path / f"shard-00000{k}.label.npy") for k in (0, 1)]
        np.testing.assert_array_equal(np.concatenate(labels), content(source)["label"])

    def test_offsets_that_point_outside_are_refused(self, tmp_path: Path) -> None:
        path = make(tmp_path, class_folder(folder(tmp_path / "f")), self.format)
        name = path / "shard-000000.image.offsets.npy"
        offsets = np.load(name)
        for wrong in (offsets + 2**40, offsets[::-1], offsets - 10**9):
            name.write_bytes(npy.dump(np.ascontiguousarray(wrong)))
            with pytest.raises(StoreError):
                open_store(path)


class TestHdf5(StoreContract):
    format = "hdf5"

    def test_h5py_reads_the_datasets(self, tmp_path: Path) -> None:
        source = arrays(20)
        path = make(tmp_path, source, self.format)
        with h5py.File(path / "shard-000000.h5") as file:
            np.testing.assert_array_equal(file["image"][:], content(source)["image"])
            np.testing.assert_array_equal(file["label"][:], content(source)["label"])
            assert file["image"].chunks is None

    def test_h5py_reads_files_of_any_size(self, tmp_path: Path) -> None:
        source = class_folder(folder(tmp_path / "f"))
        path = make(tmp_path, source, self.format)
        with h5py.File(path / "shard-000000.h5") as file:
            data, offsets = file["image/data"], file["image/offsets"][:]
            for k, image in enumerate(content(source)["image"]):
                assert data[offsets[k] : offsets[k + 1]].tobytes() == image


class TestParquet(StoreContract):
    format = "parquet"

    def test_pyarrow_reads_the_columns_and_page_checksums(self, tmp_path: Path) -> None:
        source = class_folder(folder(tmp_path / "f"))
        path = make(tmp_path, source, self.format)
        table = pq.read_table(path, page_checksum_verification=True)
        names = [source.name(k) for k in range(len(source))]
        images = [{"bytes": image, "path": n} for image, n in zip(content(source)["image"], names, strict=True)]
        assert table["image"].to_pylist() == images
        assert table["label"].to_pylist() == content(source)["label"].tolist()
        assert table["name"].to_pylist() == names
        assert table["image_size"].to_pylist() == [len(image) for image in content(source)["image"]]
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert features["image"] == {"_type": "Image"}
        assert features["label"]["names"] == ["class1", "class2", "class10", "größe 猫"]

    def test_fixed_size_binary(self, tmp_path: Path) -> None:
        source = arrays(3000, (2, 2), layout="HW", mode="L")
        path = make(tmp_path, source, self.format, images_per_file=2500)
        table = pq.read_table(path / "data" / "train-00000-of-00002.parquet")
        assert table["image"].type == pa.binary(4)
        assert b"".join(table["image"].to_pylist()) == content(source)["image"][:2500].tobytes()

    def test_shards_lie_alone_and_are_called_by_their_split(self, tmp_path: Path) -> None:
        path = make(tmp_path, arrays(5), self.format, images_per_file=3, split="val")
        assert [p.name for p in path.iterdir() if not p.name.startswith(".")] == ["data"]
        assert sorted(p.name for p in (path / "data").iterdir()) == [f"val-0000{k}-of-00002.parquet" for k in (0, 1)]
        assert sorted(p.name for p in (path / ".store").iterdir()) == [
            *("shard-000000.json", "shard-000001.json", "store.json")
        ]

    @pytest.mark.parametrize("split", ["", "a/b", "../x", "a-b", "é" * 41])
    def test_a_split_is_a_word(self, split: str) -> None:
        with pytest.raises(BadInput, match="split"):
            StorePlan(self.format, split=split)

    def test_labels_that_are_no_numbering_of_the_classes_have_no_names(self, tmp_path: Path) -> None:
        source = ArraySource(
            [(np.zeros((4, 1, 2, 2), np.uint8), np.array([1, 2, 1, 2]))], class_to_idx={"a": 1, "b": 2}
        )
        assert pq.ParquetDataset(make(tmp_path, source, self.format)).schema.metadata is None

    @pytest.mark.parametrize("compression", ["zstd", "snappy"])
    def test_compressed(self, tmp_path: Path, compression: str) -> None:
        source = ArraySource([(np.repeat(np.arange(3000, dtype=np.int32), 50).reshape(-1, 50, 1), np.arange(3000))])
        path = make(tmp_path, source, self.format, options={"compression": compression}, images_per_file=1300)
        assert sum(p.stat().st_size for p in path.rglob("*.parquet")) < 3000 * 50
        store = open_store(path)
        rows = np.random.default_rng(0).permutation(3000)[:200]
        np.testing.assert_array_equal(store.column("image", rows), content(source)["image"][rows])
        seen = torch.cat([labels for _, labels in store.loader(64, shuffle="block")])
        assert sorted(seen.tolist()) == list(range(3000))
        file = path / "data" / "train-00000-of-00003.parquet"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        with pytest.raises(StoreError, match="parquet"):
            open_store(path).verify()


class TestIpc(StoreContract):
    format = "ipc"

    def test_pyarrow_maps_the_batches(self, tmp_path: Path) -> None:
        source = class_folder(folder(tmp_path / "f"))
        path = make(tmp_path, source, self.format)
        with pa.memory_map(str(path / "shard-000000.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
            table.validate(full=True)
            assert table["image"].to_pylist() == content(source)["image"]
            assert table["label"].to_pylist() == content(source)["label"].tolist()

    def test_many_record_batches(self, tmp_path: Path) -> None:
        source = arrays(5000, (1, 2, 3))
        path = make(tmp_path, source, self.format)
        with pa.memory_map(str(path / "shard-000000.arrow")) as file:
            assert pa.ipc.open_file(file).num_record_batches == 16
        rows = np.random.default_rng(1).permutation(5000)
        np.testing.assert_array_equal(open_store(path).column("image", rows), content(source)["image"][rows])

    @pytest.mark.parametrize("rows", [1, 700, 2500])
    def test_values_begin_at_a_cache_line(self, tmp_path: Path, rows: int) -> None:
        for name, source in (("array", arrays(rows)), ("file", class_folder(folder(tmp_path / "f")))):
            path = make(tmp_path / name, source, self.format)
            with pa.memory_map(str(path / "shard-000000.arrow")) as file:
                reader = pa.ipc.open_file(file)
                file.seek(0)
                base = file.read_buffer(1).address
                columns = [reader.get_batch(k).column(0) for k in range(reader.num_record_batches)]
                assert {(column.buffers()[1].address - base) % 64 for column in columns} == {0}


class TestTar(StoreContract):
    format = "tar"

    def test_tarfile_lists_ordinary_members(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
        folder(tmp_path / "f")
        write(tmp_path / "f" / "class2" / "large.PNG", encoded(Image.fromarray(noise), "PNG"))
        source = class_folder(tmp_path / "f")
        path = make(tmp_path, source, self.format, images_per_file=10)
        wanted = content(source)
        number = 0
        for shard in sorted(path.glob("*.tar")):
            with tarfile.open(shard, format=tarfile.USTAR_FORMAT) as file:
                members = file.getmembers()
                assert len(members) % 3 == 0
                for image, label, name in zip(*(iter(members),) * 3, strict=True):
                    key, _, extension = image.name.partition(".")
                    assert key == f"{number:09d}"
                    assert extension == ("png" if source.name(number).endswith("PNG") else "jpg")
                    assert (label.name, name.name) == (f"{key}.cls", f"{key}.name.txt")
                    assert file.extractfile(image).read() == wanted["image"][number]
                    assert int(file.extractfile(label).read()) == wanted["label"][number]
                    assert file.extractfile(name).read().decode() == source.name(number)
                    assert (image.mtime, image.uid, image.mode) == (0, 0, 0o644)
                    number += 1
        assert number == len(source)

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_webdataset_decodes_it(self, tmp_path: Path) -> None:
        source = arrays(20)
        path = make(tmp_path, source, self.format, images_per_file=8)
        urls = [str(p) for p in sorted(path.glob("*.tar"))]
        dataset = wds.WebDataset(urls, shardshuffle=False, empty_check=False).decode().to_tuple("npy", "cls")
        rows = list(dataset)
        np.testing.assert_array_equal([image for image, _ in rows], content(source)["image"])
        assert [label for _, label in rows] == content(source)["label"].tolist()
        del dataset
        gc.collect()  # webdataset leaves its files to the collector, which warns

    def test_numbers_keep_their_place_when_a_sample_is_missing(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "f")
        (root / "class1" / "img1.jpg").write_bytes(b"broken")
        source = class_folder(root)
        path = make(tmp_path, source, self.format, on_error="skip")
        with tarfile.open(path / "shard-000000.tar") as file:
            keys = {name.partition(".")[0] for name in file.getnames()}
        (missing,) = [k for k in range(len(source)) if f"{k:09d}" not in keys]
        assert source.name(missing) == "class1/img1.jpg"


def test_four_spawned_workers_fetch_nothing_wrong(tmp_path: Path) -> None:
    found = sources(tmp_path)
    stores = [
        open_store(make(tmp_path, found[kind], format_, f"d{k}", images_per_file=6))
        for k, kind in enumerate(("arrays", "files", "dense resized"))
        for format_ in BUNDLED
    ]
    fetch_by_workers(stores, "spawn", 60)


def test_no_object_arrays() -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([{}], object), allow_pickle=True)
    file.seek(0)
    with pytest.raises(StoreError, match="evil"):
        npy.read_array(file, "evil.npy")


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="beton"):
        make(tmp_path, arrays(3), "beton")


@pytest.mark.parametrize("wrong", [{"images_per_file": 0}, {"on_error": "ignore"}, {"threads": 0}])
def test_wrong_settings(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=str(next(iter(wrong)))):
        make(tmp_path, arrays(3), "memmap", **wrong)


def test_objects_are_no_field(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="numbers"):
        ArraySource([(np.array([[["a"]]]), np.array([1]))])


def test_every_codec_has_its_tests() -> None:
    assert {tests.format for tests in StoreContract.__subclasses__()} == set(BUNDLED)
