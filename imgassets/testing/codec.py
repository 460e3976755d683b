"""What every image store must do, whatever its codec. A codec's test subclasses `CodecContract` and names it."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler  # noqa: TID253

from imgassets.errors import MissingUpstream, StoreError
from imgassets.sources.base import Source
from imgassets.sources.folder import class_folder
from imgassets.stores import open_store
from imgassets.stores.items import collate
from imgassets.stores.writing import StorePlan, estimate
from imgassets.testing.making import arrays, commit, content, folder, make, sources, write

Serve = Callable[[Path, str], AbstractContextManager[str]]
KINDS = ("arrays", "float", "uint16", "one", "files", "resized", "dense", "dense files", "dense resized")


@contextmanager
def served(path: Path, protocol: str) -> Iterator[str]:
    """The URL of a store, where nothing of it is read from this machine's disk but for `file`."""
    if protocol == "memory":
        fsspec.filesystem("memory").put(f"{path}/", path.as_posix(), recursive=True)
    yield f"{protocol}://{path}"


def contents(path: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def data_files(path: Path) -> list[str]:
    """The files of a store's shards."""
    return [record.name for shard in opened(path).info.shards for record in shard.files]


def opened(path: str | Path, **transforms: Any) -> Any:
    """An open store; what is called of it, every store of images has."""
    return open_store(path, **transforms)


class Fetch:
    """A dataset over open stores that yields store, row, image and label, so that a wrong one is seen."""

    def __init__(self, stores: list[Any], order: list[tuple[int, int]]) -> None:
        self.stores, self.order = stores, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, k: int) -> Any:
        number, row = self.order[k]
        return (number, row, *self.stores[number][row])


def fetch_by_workers(stores: list[Any], how: str, fetches: int = 400) -> None:
    """Random fetches from every store by 4 workers, each compared with what this process reads."""
    wanted = [[store[k] for k in range(len(store))] for store in stores]
    random = np.random.default_rng(0)
    order = [(n, int(random.integers(len(store)))) for _ in range(fetches) for n, store in enumerate(stores)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about more workers than processors
        dataset: Any = Fetch(stores, order)
        loader: Any = DataLoader(dataset, batch_size=None, num_workers=4, multiprocessing_context=how)
        seen = []
        for number, row, image, label in loader:
            assert torch.equal(image, wanted[number][row][0])
            assert torch.equal(torch.as_tensor(label), torch.as_tensor(wanted[number][row][1]))
            seen.append((number, row))
    assert seen == order


def assert_same_batch(found: Any, wanted: Any) -> None:
    """Images and labels are equal, each as one tensor or one by one."""
    assert len(found) == len(wanted)
    for column, other in zip(found, wanted, strict=True):
        assert type(column) is type(other)
        assert len(column) == len(other)
        assert all(torch.equal(a, b) for a, b in zip(column, other, strict=True))


class Count(Source):
    """Another source that counts what is read and can die."""

    def __init__(self, source: Source, die_at: int | None = None) -> None:
        self.source, self.die_at = source, die_at
        self.fields, self.class_to_idx = source.fields, source.class_to_idx
        self.seen: list[int] = []

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Any) -> Any:
        self.seen += indices
        if self.die_at is not None and self.die_at in indices:
            os._exit(9)
        return self.source.read(indices)


def opened_or_named(path: Path, name: str) -> Any:
    """The store; where damage to `name` is seen on opening, the error names what does not fit any more."""
    try:
        return opened(path)
    except StoreError as error:
        raise StoreError(f"{name}: {error}") from error


class CodecContract:
    """Round trips, every way to read, damage, resume, determinism.

    Example:
        >>> class TestLance(CodecContract):
        ...     format = "lance"
    """

    format: str
    """Name of the codec."""
    protocols: ClassVar[tuple[str, ...]] = ("file", "memory")
    """Of fsspec, under which stores are also read."""

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Source, Path]]:
        root = tmp_path_factory.mktemp(cls.format)
        found = sources(root)
        assert tuple(found) == KINDS
        paths = {
            kind: make(root, s, cls.format, f"d{k}", images_per_file=6) for k, (kind, s) in enumerate(found.items())
        }
        return {kind: (source, paths[kind]) for kind, source in found.items()}

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_row_is_the_source_s(self, made: Mapping[str, tuple[Source, Path]], kind: str) -> None:
        source, path = made[kind]
        wanted, store = content(source), opened(path)
        assert len(store) == len(source)
        assert store.fields == source.fields
        assert store.class_to_idx == dict(source.class_to_idx)
        for field in source.fields:
            found = store.column(field.name, range(len(store)))
            if field.ragged:
                assert found == list(wanted[field.name])
            else:
                assert found.dtype == np.dtype(field.dtype)
                np.testing.assert_array_equal(found, wanted[field.name])

    @pytest.mark.parametrize("kind", KINDS)
    def test_items_batches_and_loader_agree(self, made: Mapping[str, tuple[Source, Path]], kind: str) -> None:
        store = opened(made[kind][1])
        items = [store[k] for k in range(len(store))]
        for image, label in items:
            assert image.ndim == 3
            assert isinstance(label, int) or label.shape[:2] == image.shape[1:]
        seen = 0
        for images, labels in store.loader(5, shuffle=False):
            for image, label in zip(images, labels, strict=True):
                assert torch.equal(image, items[seen][0])
                assert torch.equal(torch.as_tensor(label), torch.as_tensor(items[seen][1]))
                seen += 1
        assert seen == len(store)
        for position, (image, label) in enumerate(store):
            assert torch.equal(image, items[position][0])
            assert torch.equal(torch.as_tensor(label), torch.as_tensor(items[position][1]))

    @settings(suppress_health_check=[HealthCheck.differing_executors], max_examples=60, deadline=None)
    @given(rows=st.lists(st.integers(-47, 46), max_size=70))
    def test_any_rows_in_any_order(self, made: Mapping[str, tuple[Source, Path]], rows: list[int]) -> None:
        source, path = made["arrays"]
        images, labels = opened(path).batch(rows)
        wanted = content(source)
        np.testing.assert_array_equal(images.numpy(), wanted["image"][rows])
        np.testing.assert_array_equal(labels.numpy(), wanted["label"][rows])

    def test_batch_into_given_memory(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        source, path = made["arrays"]
        out = torch.empty((9, 3, 6, 5), dtype=torch.uint8)
        images, _ = opened(path).batch([3, 46, 0], out=out)
        assert images.data_ptr() == out.data_ptr()
        np.testing.assert_array_equal(out[:3].numpy(), content(source)["image"][[3, 46, 0]])

    def test_index_out_of_range(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        store = opened(made["arrays"][1])
        for index in (47, -48, 2**40):
            with pytest.raises(IndexError):
                store[index]
            with pytest.raises(IndexError):
                store.batch([0, index])

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_list_or_a_slice_is_a_batch(self, made: Mapping[str, tuple[Source, Path]], kind: str) -> None:
        store = opened(made[kind][1])
        rows = [len(store) - 1, 0, -1]
        wanted = store.batch(rows)
        for found in (store[rows], store[tuple(rows)], store[np.array(rows)], store[torch.tensor(rows)]):
            assert_same_batch(found, wanted)
        assert_same_batch(store[1:3], store.batch(range(len(store))[1:3]))
        assert_same_batch(store[::-2], store.batch(range(len(store))[::-2]))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_batch_sampler_s_list_is_a_batch(self, made: Mapping[str, tuple[Source, Path]], workers: int) -> None:
        store = opened(made["arrays"][1])
        sampler = BatchSampler(SequentialSampler(store), 10, drop_last=False)
        loader = DataLoader(store, sampler=sampler, batch_size=None, num_workers=workers)
        for found, rows in zip(loader, sampler, strict=True):
            assert_same_batch(found, store.batch(rows))

    @pytest.mark.parametrize("index", [1.5, "1", None, True, [[0, 1]], [True, False], np.array([1.5, 2])])
    def test_what_is_no_index_is_refused(self, made: Mapping[str, tuple[Source, Path]], index: Any) -> None:
        store = opened(made["arrays"][1])
        with pytest.raises(TypeError, match="whole numbers"):
            store[index]

    def test_a_mask_is_not_taken_for_rows(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        store = opened(made["arrays"][1])
        for mask in ([False] * 46 + [True], np.ones(47, bool), np.array([1.5]), slice(3)):
            with pytest.raises(TypeError, match="whole numbers"):
                store.batch(mask)
        assert len(store.batch(np.array([]))[0]) == 0
        for few in ([3, 46], np.array([3, 46], np.uint8), torch.tensor([3, -1])):
            assert torch.equal(store.batch(few)[1], torch.tensor([store[3][1], store[46][1]]))

    def test_default_collate(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        store = opened(made["arrays"][1])
        batches = list(DataLoader(store, batch_size=10))
        assert [len(labels) for _, labels in batches] == [10, 10, 10, 10, 7]
        assert torch.equal(torch.cat([images for images, _ in batches]), store.batch(range(47))[0])
        assert torch.equal(torch.cat([labels for _, labels in batches]), torch.tensor(store.labels))

    @pytest.mark.parametrize("kind", ["arrays", "files", "dense resized"])
    def test_four_forked_workers_fetch_nothing_wrong(self, made: Mapping[str, tuple[Source, Path]], kind: str) -> None:
        fetch_by_workers([opened(made[kind][1])], "fork")

    def test_workers_hand_over_whole_batches(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        store = opened(made["arrays"][1])
        for function in (collate, None):
            loader = DataLoader(store, batch_size=6, num_workers=2, multiprocessing_context="fork", collate_fn=function)
            found = list(loader)
            assert torch.equal(torch.cat([images for images, _ in found]), store.batch(range(47))[0])
            assert torch.equal(torch.cat([labels for _, labels in found]), torch.tensor(store.labels))

    def test_threads(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        store = opened(made["files"][1])
        wanted = [store[k][0] for k in range(len(store))]
        fresh, wrong = opened(made["files"][1]), []

        def read(seed: int) -> None:
            for k in np.random.default_rng(seed).integers(0, len(fresh), 100).tolist():
                if not torch.equal(fresh[k][0], wanted[k]):
                    wrong.append(k)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_transforms(self, made: Mapping[str, tuple[Source, Path]]) -> None:
        store = opened(made["resized"][1], transform=lambda im: (im.mode, im.size), target_transform=lambda y: y + 1)
        plain = opened(made["resized"][1])
        assert store[0] == (("RGB", (7, 11)), plain[0][1] + 1)  # Pillow's size is (width, height)
        assert opened(made["arrays"][1], transform=np.asarray)[5][0].shape == (6, 5, 3)
        pixels = opened(made["arrays"][1], transform=np.asarray)[5][0]
        np.testing.assert_array_equal(pixels.transpose(2, 0, 1), opened(made["arrays"][1])[5][0])
        for kind, mode in (("float", "F"), ("uint16", "I;16")):
            image = opened(made[kind][1], transform=lambda im: im)[2][0]
            assert image.mode == mode
            np.testing.assert_array_equal(np.asarray(image), opened(made[kind][1])[2][0][0].numpy())

    def test_copies_reopen_and_notice_another_store(self, tmp_path: Path) -> None:
        path = make(tmp_path, arrays(10), self.format)
        store = opened(path)
        assert torch.equal(copy.deepcopy(store)[3][0], store[3][0])
        state = store.__getstate__()
        assert len(json.dumps(state)) < 500
        shutil.rmtree(tmp_path / "store")
        make(tmp_path, arrays(11), self.format)
        with pytest.raises(StoreError, match="written again"):
            copy.deepcopy(store)

    def test_nothing_depends_on_where_it_lies(self, made: Mapping[str, tuple[Source, Path]], tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere" / "ÿ %20"
        shutil.copytree(made["files"][1], moved)
        store, old = opened(moved), opened(made["files"][1])
        assert all(torch.equal(store[k][0], old[k][0]) for k in range(len(old)))
        for data in contents(moved).values():
            assert str(made["files"][1].parents[2]).encode() not in data

    @pytest.fixture
    def serve(self) -> Serve:
        """Puts a store where a protocol finds it."""
        return served

    def test_remote(self, made: Mapping[str, tuple[Source, Path]], serve: Serve) -> None:
        for protocol, kind in product(self.protocols, ("arrays", "files", "dense files")):
            path = made[kind][1]
            with serve(path, protocol) as url:
                local, remote = opened(path), opened(url)
                rows = [len(local) - 1, 3, 3, 0]
                for a, b in zip(local.loader(5), remote.loader(5), strict=True):
                    assert all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True))
                assert all(torch.equal(x, y) for x, y in zip(local.batch(rows)[0], remote.batch(rows)[0], strict=True))
                for k in (0, 5, len(local) - 1):
                    assert torch.equal(remote[k][0], local[k][0])
                    assert torch.equal(torch.as_tensor(remote[k][1]), torch.as_tensor(local[k][1]))
                remote.verify()

    def test_every_flipped_byte_is_found(self, tmp_path: Path) -> None:
        path = make(tmp_path, class_folder(folder(tmp_path / "folder", 2)), self.format, images_per_file=7)
        opened(path).verify()
        rng = np.random.default_rng(0)
        for name in data_files(path):
            data = bytearray((path / name).read_bytes())
            for place in rng.integers(0, len(data), 2).tolist():
                damaged = data.copy()
                damaged[place] ^= 1 << int(rng.integers(8))
                (path / name).write_bytes(damaged)
                with pytest.raises(StoreError, match=name):
                    opened_or_named(path, name).verify()
            (path / name).write_bytes(data)
        opened(path).verify()

    def test_cut_short_is_refused_at_once(self, tmp_path: Path) -> None:
        path = make(tmp_path, arrays(20), self.format, images_per_file=9)
        for name in data_files(path):
            data = (path / name).read_bytes()
            (path / name).write_bytes(data[:-1])
            with pytest.raises(StoreError):
                opened(path)
            (path / name).write_bytes(data)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MissingUpstream, match="nothing_here"):
            opened(tmp_path / "nothing_here")

    def test_hostile_names_are_refused(self, tmp_path: Path) -> None:
        path = make(tmp_path, arrays(5), self.format)
        (about,) = path.rglob("store.json")
        write(about, about.read_text().replace('"stem": "', '"stem": "../').encode())
        with pytest.raises(StoreError, match="describes no image store"):
            opened(path)

    def test_threads_do_not_change_a_byte(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "folder")
        trees = []
        for threads in (1, 4):
            path = make(tmp_path / str(threads), class_folder(root), self.format, images_per_file=8, threads=threads)
            trees.append(contents(path))
        assert trees[0] == trees[1]

    def test_killed_in_a_shard_then_resumed(self, tmp_path: Path) -> None:
        source = arrays(40)

        def killed() -> None:
            commit(tmp_path, Count(source, die_at=25), self.format, images_per_file=10, threads=1)

        process = multiprocessing.get_context("fork").Process(target=killed)
        process.start()
        process.join()
        assert process.exitcode == 9
        again = Count(source)
        path = make(tmp_path, again, self.format, images_per_file=10)
        assert sorted(again.seen) == list(range(20, 40))  # two shards were finished
        other = make(tmp_path / "undisturbed", Count(source), self.format, images_per_file=10)
        assert contents(path) == contents(other)

    def test_shards_hold_what_was_asked_for(self, tmp_path: Path) -> None:
        store = opened(make(tmp_path, arrays(40), self.format, images_per_file=12))
        assert [shard.rows for shard in store.info.shards] == [12, 12, 12, 4]

    @pytest.mark.parametrize(("kind", "off"), [("arrays", 0.05), ("files", 0.2)])
    def test_its_weight_is_known_before_it_is_written(self, tmp_path: Path, kind: str, off: float) -> None:
        source = arrays(300, (3, 32, 32)) if kind == "arrays" else class_folder(folder(tmp_path / "folder"))
        written = commit(tmp_path, source, self.format).manifest.total_bytes
        assert estimate(source, StorePlan(self.format)) == pytest.approx(written, rel=off)

    def test_unusable_images_are_left_out_and_listed(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "folder")
        clean = opened(make(tmp_path / "clean", class_folder(root), self.format, images_per_file=6))
        names = [clean.name(k) for k in range(len(clean))]
        write(root / "class1" / "img0b.jpg", b"")
        jpeg = (root / "class1" / "img1.jpg").read_bytes()
        write(root / "class10" / "img0b.jpg", jpeg[: len(jpeg) // 2])
        write(root / "class2" / "img0b.png", b"<html>no image</html>")
        for number in range(6):
            write(root / "class3" / f"img{number}.jpg", b"one class is broken all through")
        source = class_folder(root)
        path = make(tmp_path / "skip", source, self.format, images_per_file=6, on_error="skip")
        store = opened(path)
        assert [store.name(k) for k in range(len(store))] == names
        assert [s["name"] for s in store.skipped] == [
            "class1/img0b.jpg",
            "class2/img0b.png",
            *(f"class3/img{k}.jpg" for k in range(6)),
            "class10/img0b.jpg",
        ]
        assert all(s["reason"] and source.name(s["index"]) == s["name"] for s in store.skipped)
        for k in range(len(store)):
            assert bytes(store.raw(k)) == (root / store.name(k)).read_bytes()
            assert torch.equal(store[k][0], clean[k][0])
        assert store.notes == {"cmyk": 1, "grayscale": 1}

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)
