"""Files that are cut short while somebody reads them: an error that names the file, never other pixels or a signal."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253  (tests load what they need)
from torch.utils.data import DataLoader  # noqa: TID253

from imgassets import open_store
from imgassets.errors import StoreError
from imgassets.formats import tfrecord
from imgassets.sources.folder import class_folder
from imgassets.stores.registry import BUNDLED
from imgassets.testing.making import arrays, folder, make
from tests.formats.ct_making import write_split
from tests.stores.test_records import image

ROWS = 400


def numbers(root: Path, format_: str) -> Path:
    """1.2 MB of pixels in two shards, which take a while to be copied."""
    return make(root, arrays(ROWS, (3, 32, 32)), format_, images_per_file=ROWS // 2)


def files(root: Path, format_: str) -> Path:
    """Image files as they are."""
    return make(root, class_folder(folder(root / "folder")), format_)


def compressed(root: Path, format_: str) -> Path:
    """Rows that are decoded together."""
    return make(root, arrays(ROWS, (3, 32, 32)), format_, images_per_file=ROWS // 2, options={"compression": "zstd"})


def records(root: Path, format_: str) -> Path:
    """A TFRecord shard."""
    path = root / "train-00000-of-00001"
    with path.open("wb") as sink:
        tfrecord.write(sink, (image(k).parts() for k in range(20)))
    return path


def volumes(root: Path, format_: str) -> Path:
    """CT shards."""
    return write_split(root)


KINDS: list[tuple[Callable[[Path, str], Path], str]] = [
    *((numbers, format_) for format_ in BUNDLED),
    *((files, format_) for format_ in BUNDLED),
    (compressed, "parquet"),
    (records, ""),
    (volumes, ""),
]
every_kind = pytest.mark.parametrize(("making", "format_"), KINDS, ids=lambda value: getattr(value, "__name__", value))


def largest(path: Path) -> Path:
    """The file that holds most of a store."""
    return path if path.is_file() else max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def telling(path: Path) -> int:
    """Bytes of a file without the zeros at its end: to lose some of these changes no row."""
    return len(path.read_bytes().rstrip(b"\0"))


def content(store: Any) -> list[Any]:
    """All of a store, batch by batch."""
    return [tuple(batch) for batch in store.loader(ROWS // 4)]


def equal(a: Any, b: Any) -> bool:
    """Whether two batches, or what they are made of, are the same."""
    if isinstance(a, torch.Tensor | np.ndarray):
        return np.array_equal(np.asarray(a), np.asarray(b))  # torch's own would wait for threads that a fork lacks
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


@every_kind
@pytest.mark.parametrize("left", [0.5, 0.999])
def test_between_batches_it_is_an_error_that_names_the_file(
    tmp_path: Path, making: Callable[[Path, str], Path], format_: str, left: float
) -> None:
    path = making(tmp_path, format_)
    store, victim = open_store(path), largest(path)
    store[0]
    os.truncate(victim, int(telling(victim) * left))
    for _ in range(2):
        with pytest.raises(StoreError, match=victim.name):
            content(store)


@pytest.mark.parametrize("format_", BUNDLED)
def test_files_are_looked_at_when_they_are_fetched(tmp_path: Path, format_: str) -> None:
    path = files(tmp_path, format_)
    store, victim = open_store(path), largest(path)
    os.truncate(victim, 100)
    for read in (store.raw_batch, lambda rows: store.column("image", rows), lambda rows: store[rows[0]]):
        with pytest.raises(StoreError, match=victim.name):
            read([len(store) - 1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's iterator, of its worker's end
def test_workers_of_torch_are_not_killed(tmp_path: Path) -> None:
    path = numbers(tmp_path, "memmap")
    store = open_store(path)
    store[0]
    os.truncate(largest(path), 5000)
    for context, told in (("fork", "was cut"), ("spawn", "exited unexpectedly")):  # the latter has told why by itself
        loader = DataLoader(store, batch_size=50, num_workers=1, multiprocessing_context=context)
        with pytest.raises((StoreError, RuntimeError), match=told):
            list(loader)


def reads(store: Any, wanted: list[Any], begun: int, victim: Path) -> Iterator[bool]:
    """Read until after the cut; whether each batch was right."""
    os.write(begun, b"1")
    size, cut = victim.stat().st_size, False
    while not cut:
        cut = victim.stat().st_size < size
        yield from map(equal, content(store), wanted)


def outcome(path: Path, victim: Path, wait: float, size: int) -> str:
    """How a process ends that reads while its file is cut."""
    ready, begun = os.pipe()
    if (child := os.fork()) == 0:
        code = 4
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            store = open_store(path)
            wanted = content(store)
            code = 5 if all(reads(store, wanted, begun, victim)) else 3
        except StoreError as error:
            code = 0 if victim.name in str(error) else 2
        finally:
            os._exit(code)
    os.close(begun)
    os.read(ready, 1)
    os.close(ready)
    time.sleep(wait)
    os.truncate(victim, size)
    _, status = os.waitpid(child, 0)
    ends = {0: "named", 2: "not named", 3: "wrong pixels", 4: "another exception", 5: "right"}
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else ends[os.WEXITSTATUS(status)]


def trials(root: Path, kinds: list[tuple[Callable[[Path, str], Path], str]], number: int, seed: int) -> dict[str, int]:
    """Ends of processes, counted."""
    chance, ends = random.Random(seed), dict[str, int]()
    stores = []
    for k, (making, format_) in enumerate(kinds):
        (root / str(k)).mkdir()
        stores.append(making(root / str(k), format_))
    whole = {path: largest(path).read_bytes() for path in stores}
    for trial in range(number):
        path = stores[trial % len(stores)]
        victim, data = largest(path), whole[path]
        end = outcome(path, victim, chance.random() / 200, chance.randrange(telling(victim)))
        if kinds[trial % len(stores)][0] is compressed and end == "right":
            end = "named"  # what has been decoded stays in memory
        ends[end] = ends.get(end, 0) + 1
        victim.write_bytes(data)
    return ends


def test_while_batches_are_copied(tmp_path: Path) -> None:
    assert trials(tmp_path, KINDS, 52, 0) == {"named": 52}


@pytest.mark.slow
def test_while_batches_are_copied_a_thousand_times(tmp_path: Path) -> None:
    assert trials(tmp_path, KINDS, 1001, 1) == {"named": 1001}
