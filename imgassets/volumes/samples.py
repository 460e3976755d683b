"""From the volumes of one shard to its samples: fetch, read, judge and resample, several at a time, in order."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imgassets.errors import BadInput, StoreError
from imgassets.formats.ct_shard import Members, Resampled
from imgassets.granted import granted_cpus, granted_memory
from imgassets.models.device import choose_device
from imgassets.models.settings import Compute
from imgassets.sources.ct_rate import VolumeRow
from imgassets.sources.hub import Repository
from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.nifti import read_nifti
from imgassets.volumes.npz import read_npz
from imgassets.volumes.orientation import Turn, along, geometry, to_ras, turned
from imgassets.volumes.resample import resample
from imgassets.volumes.verdict import left_raw, scaled_twice, verdict
from imgassets.volumes.volume import Volume

INFLATED = 2.5
"""Bytes of a decoded CT per byte of its .nii.gz, at most (measured on chest CT: 1.8 to 2.2)."""
SPACING_TOLERANCE = 0.01
"""Relative difference between the table's and the file's spacing above which the volume is noted."""


@dataclass(eq=False)
class ShardSource:
    """The volumes of one shard and how they become samples; `skipped`, `noted` and `axes` fill while `samples`
    runs."""

    rows: Sequence[VolumeRow]
    repository: Repository
    revision: str
    recipe: Preprocessing
    workers: int
    device: Literal["cpu", "cuda"] = "cpu"
    members: Members = "guide"
    placed: bool = False
    """Whether each sample's `.json` says where it lies in the patient."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    noted: list[dict[str, str]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    """Of each sample whose file says it, where the source's axes lead."""

    @property
    def nbytes(self) -> int:
        """Bytes of the shard, to within its headers and texts."""
        return len(self.rows) * (self.recipe.nbytes + 4096)

    def samples(self, work: Path) -> Iterator[Resampled]:
        """Samples in order of the rows, whatever the number of workers; downloads pass through the folder `work`.

        At most `workers` + 1 results and `workers` source volumes are held at a time. Each array is used again once the
        next sample is asked for.

        Raises:
            BadInput: a volume could not be fetched, or this machine lacks the device; a volume that was fetched but
                cannot be used is skipped with its reason.
            StoreError: there is not enough memory for so many workers.
        """
        import torch

        choose_device(Compute(self.device))
        torch.set_num_threads(1)  # one volume per worker; threads inside an operation only wait for each other
        shutil.rmtree(work, ignore_errors=True)
        with _memory(self.workers):
            spare = [np.empty(self.recipe.shape, np.float16) for _ in range(min(self.workers, len(self.rows)) + 1)]
        waiting: deque[tuple[VolumeRow, Any, Future[Resampled | str]]] = deque()
        rows = iter(self.rows)
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                while True:
                    while len(spare) > 1 and (row := next(rows, None)) is not None:
                        array = spare.pop()
                        waiting.append((row, array, pool.submit(self._make, row, array, work / row.key)))
                    if not waiting:
                        return
                    row, array, result = waiting.popleft()
                    with _memory(self.workers):
                        sample = result.result()
                    if isinstance(sample, str):
                        self.skipped.append({"key": row.key, "reason": sample})
                    else:
                        if sample.axes:
                            self.axes[row.key] = sample.axes
                        yield sample
                    spare.append(array)
            finally:
                pool.shutdown(cancel_futures=True)
                shutil.rmtree(work, ignore_errors=True)

    def _make(self, row: VolumeRow, array: np.ndarray[Any, np.dtype[np.float16]], work: Path) -> Resampled | str:
        """The sample, or why there is none."""
        assert row.file is not None
        try:
            path = self.repository.fetch(row.file, self.revision, work)
            volume, scale = self._read(path, row)
        except _Unusable as error:
            return str(error)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        told = row.scale if self.recipe.rescale == "header" else None
        if reason := verdict(volume, scale) or left_raw(volume, told) or scaled_twice(volume, scale):
            return reason
        spacing = row.spacing if self.recipe.spacing_source == "csv" else volume.spacing
        if spacing is None:
            return f"no spacing in its {'row' if self.recipe.spacing_source == 'csv' else 'file'}"
        self._note_spacing(row, volume)
        ras, turn = volume.affine is not None and to_ras(volume.affine), Turn()
        if self.recipe.orientation == "RAS":
            if not ras:
                return "its file does not say which way up it lies, and the recipe's orientation is RAS"
            turn = ras
        try:
            plans = resample(
                turned(volume, turn), along(spacing, turn), self.recipe, array,
                scale=scale, device=self.device, flips=turn.flips,
            )  # fmt: skip
        except ValueError as error:
            return f"too small: {error}"
        digest, shape = hashlib.sha256(array.data).hexdigest(), volume.shape_xyz
        place = geometry(volume.affine, turn, self.recipe.orientation, plans, shape) if self.placed else {}
        axes = ras.codes if ras else ""
        return Resampled(row.key, array, row.report, row.labels, shape, spacing, digest, axes, place)

    def _read(self, path: Path, row: VolumeRow) -> tuple[Volume, tuple[float, float]]:
        own: tuple[float, float] | None = None
        try:
            if path.suffix == ".npz":
                found = read_npz(path)
                volume, own = found.volume, found.rescale
            else:
                volume = read_nifti(path)
        except BadInput as error:  # its bytes are those of the listing: the source itself is damaged
            raise _Unusable(f"unreadable: {error}") from error
        if self.recipe.rescale == "header":
            return volume, (1.0, 0.0)
        scale = own or row.scale
        if scale is None:
            raise _Unusable("RescaleSlope or RescaleIntercept is missing, and the recipe rescales by the table")
        return volume, scale

    def _note_spacing(self, row: VolumeRow, volume: Volume) -> None:
        if row.spacing and volume.spacing:
            pairs = zip(row.spacing, volume.spacing, strict=True)
            if any(abs(a / b - 1) > SPACING_TOLERANCE for a, b in pairs):
                used = "table's" if self.recipe.spacing_source == "csv" else "file's"
                text = (
                    f"spacing in the table {row.spacing} and in the file {volume.spacing} differ; the {used} was used"
                )
                self.noted.append({"key": row.key, "note": text})


class _Unusable(Exception):
    """Why a volume cannot become a sample."""


@contextmanager
def _memory(workers: int) -> Iterator[None]:
    """Turn running out of memory into advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # numpy's and torch's
        if isinstance(error, MemoryError) or "memory" in str(error):
            advice = (
                f"Out of memory with {workers} workers: set workers to {max(1, workers // 2)}, or free some memory."
            )
            raise StoreError(advice) from error
        raise


def default_workers(largest: int, sample_bytes: int) -> int:
    """As many as there are processors, and as fit into half of the free memory; `largest` is that of the source files.

    Each worker holds a decoded volume and its result; the other half is for the page cache, where the shard waits.
    """
    each = int(largest * INFLATED) + sample_bytes + (64 << 20)
    return max(1, min(granted_cpus(), int(granted_memory() / 2 / each)))
