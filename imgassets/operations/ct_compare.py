"""A split of CT shards against what it was made from, or against somebody else's shards of the same volumes."""

from __future__ import annotations

import glob
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgassets.errors import BadInput, Misunderstood
from imgassets.formats.ct_split import CtSplit
from imgassets.sources.ct_rate import SUFFIXES, key_of
from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.nifti import read_stream
from imgassets.volumes.npz import read_npz_stream
from imgassets.volumes.orientation import upright
from imgassets.volumes.reference import evaluate
from imgassets.volumes.volume import Volume

STEP = 2**-11 + 1e-6
"""One float16 step at 1.0: the largest difference of a voxel from its float64 value."""
MEAN = 1.3e-4
VOXELS = 200_000


@dataclass(frozen=True)
class Comparison:
    """One sample: largest and mean difference over the voxels that were compared, or why it could not be."""

    key: str
    worst: float
    mean: float
    voxels: int
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it agrees to within float16."""
        return not self.problem and self.worst <= STEP and self.mean < MEAN

    def describe(self) -> str:
        """One line."""
        if self.problem:
            return f"FAIL {self.key}: {self.problem}"
        word = "ok  " if self.passed else "FAIL"
        return f"{word} {self.key}: largest difference {self.worst:.2e}, mean {self.mean:.1e}, {self.voxels:,} voxels"


def compare(folder: Path, against: str, num_samples: int, seed: int = 0) -> Iterator[Comparison]:
    """Compare `num_samples` samples of the split in `folder`, spread over it by `seed`.

    `against` is a folder of source volumes (any depth, `<key>.nii.gz` or `.npz`), or a pattern of tar files
    (`{000000..000314}` or `*`) that hold `<key>.bin` of the same grid, or the source volumes.

    Raises BadInput when `against` names nothing, or the split's preprocessing is not one this package knows.
    """
    split = CtSplit(folder)
    recipe = _recipe(split.manifest)
    order = np.random.default_rng(seed).permutation(len(split))[:num_samples]
    wanted = {split.study_ids[i]: int(i) for i in sorted(order)}
    for key, name, data in _sources(against, set(wanted)):
        index = wanted.pop(key)
        try:
            yield _compare(key, split, index, recipe, name, data)
        except (ValueError, KeyError) as error:
            yield Comparison(key, 0, 0, 0, f"{name} cannot be compared: {error}")
    for key in wanted:
        yield Comparison(key, 0, 0, 0, f"it is not in {against}")


def _compare(key: str, split: CtSplit, index: int, recipe: Preprocessing, name: str, data: bytes) -> Comparison:
    found = split[index].volume
    if name.endswith(".bin"):
        if len(data) != found.nbytes:
            raise ValueError(f"{len(data):,} bytes, expected {found.nbytes:,}")
        difference = np.abs(np.frombuffer(data, "<f2").reshape(found.shape).astype(np.float32) - found)
        return Comparison(key, float(difference.max()), float(difference.mean()), found.size)
    volume = _volume(name, data)
    if recipe.rescale == "csv":
        raise ValueError("the split was rescaled by the table, which the source alone does not tell")
    record = split.locate(index)[1]
    spacing = _spacing(split, index)
    if recipe.orientation == "RAS":
        volume, spacing = upright(volume, spacing)
    rng = np.random.default_rng(index)
    positions = np.stack([rng.integers(0, n, VOXELS) for n in record.shape])
    difference = np.abs(evaluate(volume, spacing, recipe, positions) - found[tuple(positions)])
    return Comparison(key, float(difference.max()), float(difference.mean()), VOXELS)


def _volume(name: str, data: bytes) -> Volume:
    file = io.BytesIO(data)
    return read_npz_stream(file).volume if name.endswith(".npz") else read_stream(file)


def _spacing(split: CtSplit, index: int) -> tuple[float, float, float]:
    x, y, z = split.document(index)["spacing"]
    return float(x), float(y), float(z)


def _recipe(manifest: Mapping[str, Any]) -> Preprocessing:
    said = manifest["preprocessing"]
    try:
        recipe = Preprocessing(
            tuple(manifest["sample_shape"]),
            tuple(said["target_spacing_xyz"]),
            tuple(said["hu_clip"]),
            said["divisor"],
            said["pad_value"],
            said["rescale"],
            said["spacing_source"],
            said.get("orientation", "as_stored"),
        )
    except KeyError as error:
        raise BadInput(f"The split's manifest does not say {error} of its preprocessing.") from error
    if recipe.describe() != said:
        raise BadInput("The split's manifest describes preprocessing of another version: build it again.")
    return recipe


def _sources(against: str, keys: set[str]) -> Iterator[tuple[str, str, bytes]]:
    """Key, name and bytes of each of `keys` that is found, once."""
    left = set(keys)
    if Path(against).is_dir():
        for path in sorted(Path(against).rglob("*")):
            key = key_of(path.name)
            if key in left and path.name.endswith(SUFFIXES):
                left.discard(key)
                yield key, path.name, path.read_bytes()
        return
    for tar in _tars(against):
        yield from _in_tar(tar, left)


def _in_tar(tar: str, left: set[str]) -> Iterator[tuple[str, str, bytes]]:
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                key, _, extension = member.name.rpartition("/")[2].partition(".")
                file = archive.extractfile(member) if member.isreg() else None
                if file and key in left and f".{extension}" in (*SUFFIXES, ".bin"):
                    left.discard(key)
                    yield key, member.name, file.read()
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise BadInput(f"{tar} cannot be read as a tar ({error}): fetch it again, or leave it out.") from error


def _tars(pattern: str) -> Sequence[str]:
    from webdataset.shardlists import expand_urls

    try:
        found = [path for name in expand_urls(pattern) for path in sorted(glob.glob(name))]
    except ValueError:  # braces that do not fit
        found = []
    if not found:
        raise Misunderstood(f"{pattern!r} is neither a folder nor a pattern that names tar files.")
    return found


def describe_split(folder: Path) -> str:
    """A split in a few lines: what it is, how large, what was left out, how often each class occurs."""
    split = CtSplit(folder)
    manifest = split.manifest
    counts = np.zeros(len(split.class_names), np.int64)
    for index in range(len(split)):
        counts += split[index].labels.astype(np.int64)
    size = sum(shard.size_bytes for shard in split.shards)
    shape = "×".join(map(str, manifest["sample_shape"]))
    lines = [
        f"{manifest['dataset']} {manifest['split']}: {len(split):,} volumes of {shape} {manifest['sample_dtype']} in "
        f"{len(split.shards)} shards, {size / 1e9:.2f} GB, commit {manifest['revision'][:12]}",
        f"  left out {len(manifest['skipped'])}, noted {len(manifest['noted'])}",
        *(f"  {entry['key']}: {entry['reason']}" for entry in manifest["skipped"][:10]),
    ]
    width = max(map(len, split.class_names), default=0)
    lines += [f"  {name:{width}} {count:6,}" for name, count in zip(split.class_names, counts, strict=True)]
    return "\n".join(lines)
