"""CT volumes that lie in WebDataset shards as they came: `<key>.nii.gz`, `.npz` or `.bin`, and `.txt`, `.cls`, `.json`.

Such archives are what people make first, to get 50,000 files off a file system. They are read as a repository: each
volume is a file of it, with its own checksum, cut out of the archive when it is needed. A `.bin` holds bare voxels in C
order (x, y, z); its `.json` must say `shape`, `dtype` and `spacing` in mm, all in that order, and they become part of
the file's path, so that another reading of the same bytes is another file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from imgassets import documents
from imgassets.errors import BadInput
from imgassets.sources.batches import natural_key
from imgassets.sources.ct_rate import CLASSES, SUFFIXES, Listing, VolumeRow, cut
from imgassets.sources.hub import FULL, RemoteFile, disk_full, mismatch, sha256_of

SMALL = (".txt", ".cls", ".json")
BARE = ".bin"
BLOCK = 1 << 20
LARGEST_NOTE = 16 << 20
"""Bytes above which a `.txt`, `.cls` or `.json` is no such thing."""


@dataclass(frozen=True)
class Archives:
    """The tar files that match `pattern`; a volume's path is `<tar>!<member>`, and of a `.bin` its `Geometry`."""

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
        volumes: dict[str, VolumeRow] = {}
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
        name, _, place = file.path.partition("!")
        member, *geometry = place.split(Geometry.MARK)
        path = into / Path(member).name
        into.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(self.tars[name], "r:") as archive:
                source = archive.extractfile(member)
                assert source is not None
                if geometry:
                    path = path.with_suffix(".npz")
                    problem = Geometry.of(geometry[0]).copy(source, path, file)
                else:
                    with path.open("wb") as target:
                        shutil.copyfileobj(source, target, BLOCK)
                    problem = mismatch(path, file)
        except (OSError, KeyError, tarfile.TarError, AssertionError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise disk_full(f"Failed to copy {member} out of {name}", into) from None
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
                    if f".{extension}" in (*SUFFIXES, BARE, *SMALL):
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
    while block := file.read(BLOCK):
        digest.update(block)
        if small or member.name.endswith(".npz"):
            kept.write(block)
    return RemoteFile(path, member.size, digest.hexdigest()), kept.getvalue()


def _volume(key: str, members: Mapping[str, tuple[RemoteFile, bytes]], tar: str) -> VolumeRow:
    suffix = next((s for s in (*SUFFIXES, BARE) if s in members), None)
    if suffix is None:
        kinds = ", ".join((*SUFFIXES, BARE))
        return VolumeRow(key, None, None, None, (), "", f"absent: {tar} has nothing of this name that is {kinds}")
    file, data = members[suffix]
    said: dict[str, Any] = {}
    try:
        if suffix == ".npz":
            said = _npz(data)
        if ".json" in members:
            said |= documents.parse(members[".json"][1])
        if ".cls" in members:
            said["labels"] = np.frombuffer(members[".cls"][1], "<f4").tolist()
        if suffix == BARE:
            file = replace(file, path=file.path + Geometry.stated(said, file.size).mark())
        scale = (float(said["RescaleSlope"]), float(said["RescaleIntercept"])) if "RescaleSlope" in said else None
        report = members[".txt"][1].decode() if ".txt" in members else str(said.get("findings", ""))
        labels = tuple(int(v) for v in said.get("labels", ()) if v in (0, 1))
    except Exception as error:  # numpy, zipfile and zlib raise nearly anything
        return VolumeRow(key, file, None, None, (), "", f"what stands beside it in {tar} cannot be read: {error}")
    if len(labels) != len(CLASSES):
        return VolumeRow(key, file, None, None, (), report, f"its labels in {tar} are not {len(CLASSES)} of 0 or 1")
    return VolumeRow(key, file, None, scale, labels, report)


@dataclass(frozen=True)
class Geometry:
    """What bare voxels are: `shape`, numpy `dtype` and `spacing` in mm, along x, y, z."""

    MARK: ClassVar[str] = "|"
    """Behind the member's name in a path: no archive of this kind has it in a name."""

    shape: tuple[int, int, int]
    dtype: str
    spacing: tuple[float, float, float]

    @classmethod
    def stated(cls, said: Mapping[str, Any], size: int) -> Geometry:
        """From a sample's `.json`; raises ValueError where it does not describe `size` bytes of voxels as they came."""
        if "source_shape" in said:
            raise ValueError("it was preprocessed before: its .json has a source_shape")
        if missing := [name for name in ("shape", "dtype", "spacing") if name not in said]:
            raise ValueError(f"its .json has no {missing[0]}")
        shape, spacing = tuple(map(int, said["shape"])), tuple(map(float, said["spacing"]))
        dtype = np.dtype(str(said["dtype"])).newbyteorder("<")
        if len(shape) != 3 or min(shape) < 1 or dtype.kind not in "iuf" or math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"{size:,} bytes are no {dtype} of shape {shape}")
        if len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
            raise ValueError(f"spacing is {spacing}, not three positive numbers")
        return cls(shape, dtype.str, spacing)

    @classmethod
    def of(cls, mark: str) -> Geometry:
        """From what `mark` wrote."""
        found = documents.parse(mark)
        return cls(tuple(found["shape"]), found["dtype"], tuple(found["spacing"]))

    def mark(self) -> str:
        """What is added to a path."""
        return self.MARK + json.dumps(asdict(self), separators=(",", ":"))

    def copy(self, source: IO[bytes], path: Path, file: RemoteFile) -> str | None:
        """Write the voxels as the `.npz` that says the same of them; how they differ from the listing, or None."""
        digest, spacing = hashlib.sha256(), io.BytesIO()
        np.save(spacing, np.array(self.spacing[::-1]))
        with zipfile.ZipFile(path, "w") as archive:
            with archive.open("image.npy", "w", force_zip64=True) as target:
                header = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
                np.lib.format.write_array_header_1_0(target, header)
                while block := source.read(BLOCK):
                    digest.update(block)
                    target.write(block)
            archive.writestr("spacing.npy", spacing.getvalue())
        return None if digest.hexdigest() == file.sha256 else "its SHA-256 is not that of the listing"


def _npz(data: bytes) -> dict[str, Any]:
    """The small members of an `.npz` volume."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        found: dict[str, Any] = {}
        if "labels" in arrays:
            found["labels"] = arrays["labels"].ravel().tolist()
        if "findings" in arrays:
            found["findings"] = str(arrays["findings"])
        return found
