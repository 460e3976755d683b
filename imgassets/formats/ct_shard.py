"""WebDataset shards of preprocessed CT volumes: `<key>.bin .cls .json .txt` in a POSIX ustar archive.

`.bin` is float16 in C order (x, y, z), `.cls` one float32 per class, `.json` says shape, dtype and labels, `.txt` is
the report in UTF-8; `MEMBERS` has other names for the same, and NPY files, which any decoder reads. Headers carry no
time, owner or host, so equal samples give equal bytes. Where each member begins and the SHA-256 of each volume are
returned while writing: they allow random access without ever scanning an archive.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imgassets import documents
from imgassets.errors import BadInput
from imgassets.formats import npy
from imgassets.formats.ustar import END, RECORD, header, padding, scan

if TYPE_CHECKING:
    from _typeshed import SupportsWrite
    from typing_extensions import Buffer

FORMAT = "ct_shard/2"
KEPT = ("ct_shard/1",)
"""Earlier formats whose shards stay current: their `.json` lacks two keys."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
"""No dot: WebDataset takes what follows the first one for the extension."""
Members = Literal["guide", "npy", "ctclip"]
MEMBERS: Mapping[str, tuple[str, str, str, str]] = {
    "guide": ("bin", "cls", "json", "txt"),
    "npy": ("volume.npy", "labels.npy", "json", "report.txt"),
    "ctclip": ("bin", "labels", "json", "txt"),
}
"""Extensions of a sample's volume, labels, description and report, in the order in which they stand in a shard."""
NPY_HEAD = 128
"""Bytes of an NPY member before its values."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """One volume to be written: `array` is float16, C-contiguous, (x, y, z)."""

    key: str
    array: np.ndarray[Any, np.dtype[np.float16]]
    report: str
    labels: tuple[int, ...]
    source_shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    sha256: str
    """Of the array's bytes."""
    axes: str = ""
    """Where the source's axes lead, such as `LPS`; empty where its file does not say."""
    geometry: Mapping[str, Any] = field(default_factory=dict)
    """What its `.json` says beside the rest."""

    def document(self) -> dict[str, Any]:
        """The `.json` member: enough to use the volume without any other member but `.bin`."""
        return {
            "study_id": self.key,
            "shape": list(self.array.shape),
            "dtype": str(self.array.dtype),
            "volume_shape": list(self.array.shape),
            "volume_dtype": str(self.array.dtype),
            "num_classes": len(self.labels),
            "labels": list(self.labels),
            "source_shape": list(self.source_shape),
            "spacing": list(self.spacing),
            **self.geometry,
        }


@dataclass(frozen=True)
class SampleRecord:
    """Where a sample lies: `members` maps an extension to (offset, length) in bytes of its content."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    members: Mapping[str, tuple[int, int]]

    def span(self, what: Literal["volume", "labels", "json", "report"]) -> tuple[int, int]:
        """Offset and length of the bytes themselves of one of its members, whatever that is called."""
        place = ("volume", "labels", "json", "report").index(what)
        name = next(names[place] for names in MEMBERS.values() if self.members.keys() == set(names))
        offset, length = self.members[name]
        head = NPY_HEAD if name.endswith("npy") else 0
        return offset + head, length - head

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> SampleRecord:
        """From JSON; raises BadInput where a value is not what it must be."""
        try:
            members = {str(e): (int(v[0]), int(v[1])) for e, v in document["members"].items()}
            shape = tuple(int(n) for n in document["shape"])
            record = cls(str(document["key"]), shape, str(document["dtype"]), str(document["sha256"]), members)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise BadInput(f"A sample's record is damaged ({error!r}): {str(document)[:80]}.") from error
        if (
            KEY.fullmatch(record.key) is None
            or set(members) not in map(set, MEMBERS.values())
            or any(n < 0 for member in members.values() for n in member)
        ):
            raise BadInput(f"A sample's record is damaged: {str(document)[:120]}.")
        return record


@dataclass(frozen=True)
class WrittenShard:
    """What was written: size in bytes, SHA-256 of the whole archive, and its samples in order."""

    size_bytes: int
    sha256: str
    samples: tuple[SampleRecord, ...]

    def facts(self) -> dict[str, Any]:
        """As JSON values, for a manifest."""
        document = asdict(self)
        return {"num_samples": len(self.samples), **json.loads(json.dumps(document))}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> WrittenShard:
        """From the JSON values of `facts`."""
        return cls(int(facts["size_bytes"]), str(facts["sha256"]), tuple(map(SampleRecord.of, facts["samples"])))


def write_shard(sink: SupportsWrite[Buffer], samples: Iterable[Resampled], members: Members = "guide") -> WrittenShard:
    """Write one shard from front to back; memory does not grow with the number of samples.

    Raises BadInput on a key that is used twice or cannot name a WebDataset sample.
    """
    records: list[SampleRecord] = []
    seen: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        tar = _Archive(sink, pool)
        for sample in samples:
            if KEY.fullmatch(sample.key) is None or sample.key in seen:
                problem = "is used twice" if sample.key in seen else "cannot name a sample (letters, digits, - and _)"
                raise BadInput(f"The key {sample.key[:80]!r} {problem}.")
            seen.add(sample.key)
            places = {
                extension: tar.add(f"{sample.key}.{extension}", *_content(content, extension))
                for extension, content in zip(MEMBERS[members], _contents(sample), strict=True)
            }
            records.append(SampleRecord(sample.key, sample.array.shape, "float16", sample.sha256, places))
        tar.put(bytes(-(-(tar.size + len(END)) // RECORD) * RECORD - tar.size))
    return WrittenShard(tar.size, tar.digest.hexdigest(), tuple(records))


def _contents(sample: Resampled) -> tuple[Any, Any, bytes, bytes]:
    """Volume, labels, description and report."""
    volume, labels = sample.array.astype("<f2", copy=False), np.asarray(sample.labels, "<f4")
    return volume, labels, json.dumps(sample.document(), ensure_ascii=False).encode(), sample.report.encode()


def _content(content: Any, extension: str) -> Sequence[Buffer]:
    """A member's bytes, in parts."""
    if not isinstance(content, np.ndarray):
        return [content]
    return [npy.header(content.dtype, content.shape, NPY_HEAD)] * extension.endswith("npy") + [content.data]


class _Archive:
    """A ustar archive; its SHA-256 is computed in a second thread while the bytes go to the sink."""

    def __init__(self, sink: SupportsWrite[Buffer], pool: ThreadPoolExecutor) -> None:
        self._sink, self._pool = sink, pool
        self.size, self.digest = 0, hashlib.sha256()

    def add(self, name: str, *content: Buffer) -> tuple[int, int]:
        views = [memoryview(part).cast("B") for part in content]
        length = sum(map(len, views))
        self.put(header(name, length))
        start = self.size
        for view in views:
            self.put(view)
        self.put(padding(length))
        return start, length

    def put(self, data: Buffer) -> None:
        view = memoryview(data)
        if len(view) > RECORD:
            hashing = self._pool.submit(self.digest.update, view)
            self._sink.write(view)
            hashing.result()
        else:
            self.digest.update(view)
            self._sink.write(view)
        self.size += len(view)


def records_of(path: Path) -> list[SampleRecord]:
    """The samples of a shard that has no manifest, in order; checksums are empty.

    Raises BadInput naming the shard where it is damaged or its members are not those of this format.
    """
    found: dict[str, dict[str, tuple[int, int]]] = {}
    records = []
    try:
        with path.open("rb") as file:
            for name, offset, size in scan(file):
                key, _, extension = name.partition(".")
                found.setdefault(key, {})[extension] = (offset, size)
            for key, members in found.items():
                if set(members) not in map(set, MEMBERS.values()):
                    raise BadInput(f"{key} has the members {sorted(members)}, expected {list(MEMBERS['guide'])}.")
                file.seek(members["json"][0])
                document = documents.parse(file.read(members["json"][1]))
                about = {"key": key, "sha256": "", "members": members}
                records.append(SampleRecord.of({"shape": document["shape"], "dtype": document["dtype"], **about}))
    except (BadInput, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path.name} is no shard of CT volumes: {error}") from error
    return records
