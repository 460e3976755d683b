"""The volumes of one shard on their way to samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets.errors import BadInput, StoreError
from imgassets.granted import free_memory
from imgassets.sample_data.ct_rate import chest, nifti
from imgassets.sources.ct_rate import VolumeRow
from imgassets.sources.hub import RemoteFile
from imgassets.volumes import samples as ct_samples
from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.samples import ShardSource, default_workers

SHAPE, SPACING = (14, 13, 12), (2.0, 2.0, 4.0)
RECIPE = Preprocessing(shape=(16, 15, 10), spacing=(2.0, 2.0, 4.0))


class Folder:
    """A repository that copies each file into the work folder, as a download would."""

    name = "folder"

    def __init__(self, root: Path) -> None:
        self.root = root

    def pin(self) -> str:
        return "0" * 40

    def list(self, revision: str, folder: str) -> Iterator[RemoteFile]:
        return iter(())

    def fetch(self, file: RemoteFile, revision: str, into: Path) -> Path:
        into.mkdir(parents=True)
        path = into / file.path
        path.write_bytes((self.root / file.path).read_bytes())
        return path


@pytest.fixture
def source(tmp_path: Path) -> ShardSource:
    rows = []
    for number in range(7):
        name = f"train_{number}_a_1.nii.gz"
        data = np.zeros(SHAPE, np.int16) if number == 3 else chest(SHAPE, number)
        (tmp_path / name).write_bytes(nifti(data, SPACING))
        rows.append(VolumeRow(name[:-7], RemoteFile(name, 1), SPACING, (1.0, -8192.0), (0,) * 18, str(number)))
    return ShardSource(rows, Folder(tmp_path), "0" * 40, RECIPE, 1)


def collected(source: ShardSource, work: Path) -> list[tuple[str, bytes, str]]:
    return [(sample.key, sample.array.tobytes(), sample.sha256) for sample in source.samples(work)]


def test_order_and_content_do_not_depend_on_workers(source: ShardSource, tmp_path: Path) -> None:
    expected = collected(source, tmp_path / "work")
    assert [key for key, _, _ in expected] == [f"train_{n}_a_1" for n in (0, 1, 2, 4, 5, 6)]
    assert [entry["key"] for entry in source.skipped] == ["train_3_a_1"]
    for workers in (2, 5, 20):
        again = replace(source, workers=workers, skipped=[], noted=[])
        assert collected(again, tmp_path / "work") == expected
        assert again.skipped == source.skipped
    assert not (tmp_path / "work").exists()


def test_leftovers_of_a_killed_attempt_are_removed(source: ShardSource, tmp_path: Path) -> None:
    (tmp_path / "work/train_0_a_1").mkdir(parents=True)
    (tmp_path / "work/train_0_a_1/x.incomplete").write_bytes(b"half")
    assert len(collected(source, tmp_path / "work")) == 6
    assert not (tmp_path / "work").exists()


def test_stopping_early_removes_downloads_and_starts_no_more(source: ShardSource, tmp_path: Path) -> None:
    samples = replace(source, workers=2).samples(tmp_path / "work")
    next(samples)
    samples.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "work").exists()


def test_rescaling_by_the_table_is_explicit_and_guarded(source: ShardSource, tmp_path: Path) -> None:
    twice = replace(source, recipe=replace(RECIPE, rescale="csv"), skipped=[])
    assert collected(twice, tmp_path / "work") == []
    assert all("implausible" in entry["reason"] or "blank" in entry["reason"] for entry in twice.skipped)
    without = replace(twice, rows=[replace(row, scale=None) for row in source.rows], skipped=[])
    assert collected(without, tmp_path / "work") == []
    assert "RescaleSlope" in without.skipped[0]["reason"]


def test_the_files_own_spacing_on_request(source: ShardSource, tmp_path: Path) -> None:
    wrong = [replace(row, spacing=(3.0, 3.0, 3.0)) for row in source.rows]
    by_file = replace(source, rows=wrong, recipe=replace(RECIPE, spacing_source="header"), skipped=[])
    assert collected(by_file, tmp_path / "work") == collected(source, tmp_path / "work")
    assert len(by_file.noted) == 6
    assert "the file's was used" in by_file.noted[0]["note"]


def test_a_fetch_that_fails_fails_the_shard(source: ShardSource, tmp_path: Path) -> None:
    class Broken(Folder):
        def fetch(self, file: RemoteFile, revision: str, into: Path) -> Path:
            raise BadInput("Failed to download x: no.")

    with pytest.raises(BadInput, match="Failed to download x"):
        collected(replace(source, repository=Broken(tmp_path), workers=3), tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_device_that_is_not_there_is_named(
    source: ShardSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match="device='cuda': this machine has cpu"):
        collected(replace(source, device="cuda"), tmp_path / "work")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_out_of_memory_is_advice(
    source: ShardSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise error

    monkeypatch.setattr(ct_samples, "resample", fail)
    with pytest.raises(StoreError, match="Out of memory with 6 workers: set workers to 3"):
        collected(replace(source, workers=6), tmp_path / "work")


def test_default_workers_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory() > 1 << 20
    monkeypatch.setattr(ct_samples, "granted_memory", lambda: 8 << 30)
    monkeypatch.setattr(ct_samples, "granted_cpus", lambda: 64)
    few, many = default_workers(400 << 20, 110 << 20), default_workers(40 << 20, 110 << 20)
    assert few < many < 64
    monkeypatch.setattr(ct_samples, "granted_memory", lambda: 1 << 20)
    assert default_workers(400 << 20, 110 << 20) == 1
