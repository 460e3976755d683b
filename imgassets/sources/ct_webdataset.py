"""CT volumes that lie in WebDataset shards as they came: `<key>.nii.gz` or `<key>.npz`, with `.txt`, `.cls` or `.json`.

Such archives are what people make first, to get 50,000 files off a file system. They are read as a repository: each
volume is a file of it, with its own checksum, cut out of the archive when it is needed.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from imgassets.errors import BadInput
from imgassets.sources.batches import natural_key
from imgassets.sources.ct_rate import CLASSES, SUFFIXES, Listing, Volume, cut
from imgassets.sources.hub import RemoteFile, mismatch, sha256_of

SMALL = (".txt", ".cls", ".json")
LARGEST_NOTE = 16 << 20
"""Bytes above which a `.txt`, `.cls` or `.json` is no such thing."""


@dataclass(frozen=True)
class Archives:
    """The tar files that match `pattern`; a volume's path is `<tar>!<member>`."""

    pattern: str
    digest: Callable[[Path], str] = field(default=sha256_of)
    """SHA-256 of a file; a memory of them saves reading archives again."""

    @property
    def name(self) -> str:
        """The pattern's last part: where the archives lie is nobody's business."""
        return Path(self.pattern).name

    @cached_property
    def tars(self) -> dict[str, Path]:
        """By name; raises BadInput when there is none, or two have one name."""
        root, names = Path(self.pattern).parent, sorted(Path(self.pattern).parent.glob(Path(self.pattern).name))
        if not names:
            raise BadInput(f"No tar file matches {self.pattern!r} (below {root}): set `repository` to such a pattern.")
        return {path.name: path for path in sorted(names, key=lambda path: natural_key(path.name))}

    def pin(self) -> str:
        """The first 40 digits of a SHA-256 over names and SHA-256 of all archives."""
        lines = (f"{self.digest(path)} {name}\n" for name, path in self.tars.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]

    def listing(self, samples_per_shard: int) -> Listing:
        """All volumes in natural order, cut into shards; reads every archive once.

        Raises BadInput when an archive is damaged.
        """
        volumes: dict[str, Volume] = {}
        twice: set[str] = set()
        for name, path in self.tars.items():
            for key, members in self._samples(name, path):
                if key in volumes:
                    twice.add(key)
                else:
                    volumes[key] = _volume(key, members, name)
        for key in twice:
            volumes[key] = replace(volumes[key], skip="two samples have this name")
        ordered = [volumes[key] for key in sorted(volumes, key=natural_key)]
        return cut(ordered, samples_per_shard, {"names_of_two_files": sorted(twice, key=natural_key)})

    def fetch(self, file: RemoteFile, revision: str, into: Path) -> Path:
        """Cut a volume out of its archive into the folder `into`, and compare it with the listing."""
        name, _, member = file.path.partition("!")
        path = into / Path(member).name
        into.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(self.tars[name], "r:") as archive:
                source = archive.extractfile(member)
                assert source is not None
                with path.open("wb") as target:
                    while block := source.read(1 << 20):
                        target.write(block)
            problem = mismatch(path, file)
        except (OSError, KeyError, tarfile.TarError, AssertionError) as error:
            raise BadInput(f"Failed to read {member} in {name}: {error or 'it is no file'}.") from error
        if problem:
            raise BadInput(f"Failed to read {member} in {name}: {problem}; materialize the index again.")
        return path

    def list(self, revision: str, folder: str) -> Iterator[RemoteFile]:
        """Nothing: what archives hold is told by `listing`."""
        return iter(())

    def _samples(self, name: str, path: Path) -> Iterator[tuple[str, dict[str, tuple[RemoteFile, bytes]]]]:
        """Key and members of each sample; the bytes of volumes are hashed and, unless they are `.npz`, not kept."""
        key, members = "", dict[str, tuple[RemoteFile, bytes]]()
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    if not member.isreg():
                        continue
                    base = member.name.rpartition("/")[2]
                    this, _, extension = base.partition(".")
                    if this != key and members:
                        yield key, members
                        members = {}
                    key = this
                    if f".{extension}" in (*SUFFIXES, *SMALL):
                        members[f".{extension}"] = _hashed(archive, member, f"{name}!{member.name}")
            if members:
                yield key, members
        except (tarfile.TarError, OSError, EOFError) as error:
            raise BadInput(f"{name} is no whole tar file: {error}.") from error


def _hashed(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> tuple[RemoteFile, bytes]:
    file = archive.extractfile(member)
    assert file is not None
    small = member.name.endswith(SMALL)
    if small and member.size > LARGEST_NOTE:
        raise BadInput(f"{path} has {member.size:,} bytes, too many for what its name says.")
    digest, kept = hashlib.sha256(), io.BytesIO()
    while block := file.read(1 << 20):
        digest.update(block)
        if small or member.name.endswith(".npz"):
            kept.write(block)
    return RemoteFile(path, member.size, digest.hexdigest()), kept.getvalue()


def _volume(key: str, members: Mapping[str, tuple[RemoteFile, bytes]], tar: str) -> Volume:
    suffix = next((s for s in SUFFIXES if s in members), None)
    if suffix is None:
        return Volume(key, None, None, None, (), "", f"absent: {tar} has no {' or '.join(SUFFIXES)} of this name")
    file, data = members[suffix]
    said: dict[str, Any] = {}
    try:
        if suffix == ".npz":
            said = _npz(data)
        if ".json" in members:
            said |= json.loads(members[".json"][1])
        if ".cls" in members:
            said["labels"] = np.frombuffer(members[".cls"][1], "<f4").tolist()
        report = members[".txt"][1].decode() if ".txt" in members else str(said.get("findings", ""))
        labels = tuple(int(v) for v in said.get("labels", ()) if v in (0, 1))
    except (ValueError, KeyError, TypeError) as error:
        return Volume(key, file, None, None, (), "", f"what stands beside it in {tar} cannot be read: {error}")
    if len(labels) != len(CLASSES):
        return Volume(key, file, None, None, (), report, f"its labels in {tar} are not {len(CLASSES)} of 0 or 1")
    return Volume(key, file, None, None, labels, report)


def _npz(data: bytes) -> dict[str, Any]:
    """The small members of an `.npz` volume."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        found: dict[str, Any] = {}
        if "labels" in arrays:
            found["labels"] = arrays["labels"].ravel().tolist()
        if "findings" in arrays:
            found["findings"] = str(arrays["findings"])
        return found
