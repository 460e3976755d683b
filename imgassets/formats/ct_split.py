"""A split of CT volumes: shards and the `manifest.json` that says what is in them; reading it by memory map.

    split = CtSplit("…/ct_rate/shards/train")
    volume, report, labels = split[0]        # float16 (480, 480, 240), str, float32 (18,); nothing is copied

or through WebDataset, whose default decoder fails on a `.cls` of many classes:

    webdataset.WebDataset(split.urls, shardshuffle=False).decode(*decoders()).to_tuple("bin", "txt", "cls")
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imgassets import documents
from imgassets.errors import MissingUpstream, StoreError
from imgassets.formats.ct_shard import SampleRecord, WrittenShard
from imgassets.mapping import Mapped

MANIFEST, CARD = "manifest.json", "README.md"
NAME = re.compile(r"shard-\d{6}\.tar")


def shard_name(index: int) -> str:
    """File name of shard `index`."""
    return f"shard-{index:06d}.tar"


def split_manifest(
    split: str,
    shards: Sequence[WrittenShard],
    *,
    skipped: Sequence[Mapping[str, Any]],
    noted: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    shape: Sequence[int],
    samples_per_shard: int,
    preprocessing: Mapping[str, Any],
    revision: str,
    dataset: str = "CT-RATE",
) -> dict[str, Any]:
    """The document of `manifest.json`; every count is counted from `shards`, which are in order and complete.

    `skipped` lists {"key", "reason"} of volumes that are in no shard, `noted` the same of volumes that are in one.
    """
    total, nbytes = sum(len(shard.samples) for shard in shards), sum(shard.size_bytes for shard in shards)
    return {
        "dataset": dataset,
        "split": split,
        "format": "webdataset",
        "preprocessed": True,
        "total_shards": len(shards),
        "num_shards": len(shards),
        "total_samples": total,
        "total_size_mb": nbytes / 2**20,
        "total_size_gb": nbytes / 2**30,
        "average_sample_size_mb": nbytes / 2**20 / total if total else 0.0,
        "sample_shape": list(shape),
        "sample_dtype": "float16",
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "samples_per_shard": samples_per_shard,
        "revision": revision,
        "preprocessing": dict(preprocessing),
        "shards": [
            {"shard_index": index, "filename": shard_name(index), **shard.facts()} for index, shard in enumerate(shards)
        ],
        "skipped": list(skipped),
        "noted": list(noted),
    }


def card(split: str, classes: Sequence[str]) -> bytes:
    """`README.md` for the folder of a split, a card of the Hugging Face hub: what of it is data, and what it means."""
    said = {"configs": [{"config_name": "default", "data_files": [{"split": split, "path": "*.tar"}]}]}
    lines = [f"{number}. {name}" for number, name in enumerate(classes)]
    text = f"""---
{json.dumps(said)}
---

# {split}

Chest CT volumes as WebDataset shards: `.volume.npy` float16 (x, y, z), `.labels.npy` a float32 per class, `.report.txt`
and `.json`. `manifest.json` says what is in each shard, and how it was made. Labels, in order, from 0:

"""
    return (text + "\n".join(lines) + "\n").encode()


def dump(document: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


class Scan(NamedTuple):
    """One sample: `volume` float16 (x, y, z), read-only, the file itself; `labels` float32 (classes,).

    To read a volume whose shard has been cut meanwhile ends the process; batches of `CtStore.loader` are copies.
    """

    volume: np.ndarray[Any, np.dtype[np.float16]]
    report: str
    labels: np.ndarray[Any, np.dtype[np.float32]]


class CtSplit(Sequence[Scan]):
    """All samples of one split, by index, from the offsets in its manifest.

    Raises:
        MissingUpstream: the folder has no manifest.
        StoreError: a shard is missing, has another size or is cut while it is open, or the manifest contradicts itself.
    """

    def __init__(self, folder: str | Path, *, verify: bool = False) -> None:
        self.folder, self._checks = Path(folder), verify
        try:
            self.manifest: dict[str, Any] = documents.parse((self.folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            raise MissingUpstream(f"{self.folder} has no {MANIFEST}: materialize ct_rate/manifest first.") from None
        except ValueError as error:
            raise StoreError(f"{self.folder / MANIFEST} is damaged ({error}): materialize it again.") from error
        try:
            entries = self.manifest["shards"]
            self.shards = [WrittenShard.of(entry) for entry in entries]
            self._paths = [self._checked(entry) for entry in entries]
            for path, shard in zip(self._paths, self.shards, strict=True):
                _refuse_misfits(path, shard, self.manifest)
            total = int(self.manifest["total_samples"])
        except StoreError:
            raise
        except Exception as error:  # whatever JSON of another kind leads to
            raise StoreError(f"{self.folder / MANIFEST} is damaged ({error!r}): materialize it again.") from error
        self._ends: list[int] = []
        for shard in self.shards:
            self._ends.append(len(shard.samples) + (self._ends[-1] if self._ends else 0))
        if len(self) != total:
            raise StoreError(
                f"{self.folder / MANIFEST} lists {len(self)} samples and says {total}: materialize it again."
            )
        self._mapped: Mapped | None = None
        self._closed = False

    def _checked(self, entry: Mapping[str, Any]) -> Path:
        name = str(entry["filename"])
        if NAME.fullmatch(name) is None:
            raise StoreError(f"{self.folder / MANIFEST} names the shard {name[:80]!r}, which cannot be one.")
        path = self.folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["size_bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise StoreError(
                f"{path} {found}, the manifest says {entry['size_bytes']}: materialize ct_rate/shards again."
            )
        return path

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        """Sample `index` (negative ones count from the end), or a list for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number, record = self.locate(index)
        with self._space().watched():
            volume = self._member(number, record, "volume")
            if self._checks:
                self._check(number, record, volume)
            with _sound(self._paths[number], record):
                report = self._member(number, record, "report").tobytes().decode()
            labels = np.frombuffer(self._member(number, record, "labels").tobytes(), "<f4")
            return Scan(volume.view("<f2").reshape(record.shape), report, labels)

    def _check(self, number: int, record: SampleRecord, volume: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        if hashlib.sha256(volume.data).hexdigest() != record.sha256:
            raise StoreError(f"{record.key} in {self._paths[number]} is damaged: materialize its shard again.")

    def __iter__(self) -> Iterator[Scan]:
        return (self[index] for index in range(len(self)))

    def locate(self, index: int) -> tuple[int, SampleRecord]:
        """The shard's number and the record of sample `index`; raises IndexError beyond the end."""
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = bisect.bisect_right(self._ends, place)
        return number, self.shards[number].samples[place - (self._ends[number - 1] if number else 0)]

    def document(self, index: int) -> dict[str, Any]:
        """The sample's `.json`: study_id, shape, dtype, labels, source_shape, spacing."""
        number, record = self.locate(index)
        with self._space().watched(), _sound(self._paths[number], record):
            return dict(documents.parse(self._member(number, record, "json").tobytes().decode()))

    def close(self) -> None:
        """Give the shards back; one that nothing refers to any more does so itself. Reading on is a StoreError.

        A volume that is still used holds its shard.
        """
        self._mapped, self._closed = None, True

    @cached_property
    def study_ids(self) -> list[str]:
        """The key of every sample, in order."""
        return [record.key for shard in self.shards for record in shard.samples]

    @property
    def class_names(self) -> list[str]:
        """What each label means."""
        return list(self.manifest["class_names"])

    @property
    def urls(self) -> list[str]:
        """Paths of the shards, for WebDataset."""
        return [str(path) for path in self._paths]

    def _space(self) -> Mapped:
        if self._closed:
            raise StoreError(f"{self.folder} was closed: open it anew to read it.")
        if self._mapped is None:
            self._mapped = Mapped(self._paths, [int(entry["size_bytes"]) for entry in self.manifest["shards"]])
        return self._mapped

    def _member(self, number: int, record: SampleRecord, what: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        mapped = self._space()
        offset, length = record.span(what)
        start = mapped.start(number) + offset
        return mapped.bytes[start : start + length]

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapping: a worker process makes its own instead of receiving gigabytes."""
        return {**self.__dict__, "_mapped": None}


def map_volume(path: Path, record: SampleRecord) -> np.ndarray[Any, np.dtype[np.float16]]:
    """The volume of one sample, mapped from its shard; what is written to it stays in memory."""
    with _sound(path, record):
        return np.memmap(path, "<f2", "c", record.span("volume")[0], record.shape)


def read_text(path: Path, record: SampleRecord) -> str:
    """The report of one sample."""
    offset, length = record.span("report")
    with path.open("rb") as file, _sound(path, record):
        file.seek(offset)
        return file.read(length).decode()


@contextmanager
def _sound(path: Path, record: SampleRecord) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError(f"{record.key} in {path} is damaged ({error}): materialize its shard again.") from error


def _refuse_misfits(path: Path, shard: WrittenShard, manifest: Mapping[str, Any]) -> None:
    """Raise ValueError where a manifest says of a shard what does not fit its size, or the manifest itself."""
    shape, classes = tuple(manifest["sample_shape"]), len(list(map(str.encode, manifest["class_names"])))
    if int(manifest["samples_per_shard"]) < 1 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{manifest['samples_per_shard']} samples a shard of shape {shape}")
    for record in shard.samples:
        if any(sum(place) > shard.size_bytes for place in record.members.values()):
            raise ValueError(f"{record.key} does not lie in {path.name}")
        sizes = record.span("volume")[1], record.span("labels")[1]
        if record.shape != shape or sizes != (2 * math.prod(shape), 4 * classes):
            raise ValueError(f"{record.key} is of {record.shape} in {sizes}, expected {shape} and {classes} labels")


def collate(samples: Sequence[Scan]) -> tuple[Any, list[str], Any]:
    """For `torch.utils.data.DataLoader`: volumes (n, x, y, z) float16, reports, labels (n, classes) float32."""
    import torch

    volumes, reports, labels = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(volumes)), list(reports), torch.from_numpy(np.stack(labels))


def decoders(shape: Sequence[int] = (480, 480, 240)) -> list[Callable[[str, bytes], Any]]:
    """Handlers for `WebDataset.decode`: `.bin` to a float16 tensor of `shape`, `.cls` to float32, `.json`, `.txt`."""
    import torch

    def decode(key: str, data: bytes) -> Any:
        extension = key.rpartition(".")[2]
        if extension == "bin":
            return torch.frombuffer(bytearray(data), dtype=torch.float16).reshape(tuple(shape))
        if extension in {"cls", "labels"}:
            return torch.frombuffer(bytearray(data), dtype=torch.float32)
        if extension == "json":
            return documents.parse(data)
        return data.decode() if extension == "txt" else data  # whatever else: bytes, never the default decoders

    return [decode]
