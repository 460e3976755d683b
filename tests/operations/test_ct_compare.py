"""A split is compared with its sources and with other shards, and what differs is told."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.formats.ct_shard import Resampled, write_shard
from imgassets.formats.ct_split import dump, shard_name, split_manifest
from imgassets.operations.ct_compare import STEP, compare, describe_split
from imgassets.sample_data.ct_rate import chest, nifti
from imgassets.sources.ct_rate import CLASSES
from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.nifti import read_nifti
from imgassets.volumes.reference import evaluate
from imgassets.volumes.resample import resample
from tests.volumes.phantom import chest as phantom
from tests.volumes.test_resample import truth, volume_of

SPACING = (3.0, 2.5, 4.5)
RECIPE = Preprocessing(shape=(40, 36, 24), spacing=(2.0, 2.0, 4.0))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Folder `split` of one shard, made from the volumes in `source`."""
    samples = []
    (tmp_path / "source/deep").mkdir(parents=True)
    (tmp_path / "split").mkdir()
    for number in range(3):
        path = tmp_path / f"source/deep/train_{number}_a_1.nii.gz"
        path.write_bytes(nifti(chest((30, 28, 20), number), SPACING))
        array = np.empty(RECIPE.shape, np.float16)
        resample(read_nifti(path), SPACING, RECIPE, array)
        samples.append(Resampled(f"train_{number}_a_1", array, "r", (1,) + (0,) * 17, (30, 28, 20), SPACING, ""))
    sink = io.BytesIO()
    shard = write_shard(sink, samples)
    (tmp_path / "split" / shard_name(0)).write_bytes(sink.getvalue())
    document = split_manifest(
        "train",
        [shard],
        skipped=[{"key": "train_9_a_1", "reason": "blank"}],
        noted=[],
        class_names=CLASSES,
        shape=RECIPE.shape,
        samples_per_shard=3,
        preprocessing=RECIPE.describe(),
        revision="0" * 40,
    )
    (tmp_path / "split/manifest.json").write_bytes(dump(document))
    return tmp_path


def test_the_plain_definition_agrees_with_another_program() -> None:
    data = phantom((30, 28, 20))
    positions = np.stack(np.meshgrid(*map(np.arange, RECIPE.shape), indexing="ij")).reshape(3, -1)
    found = evaluate(volume_of(data), SPACING, RECIPE, positions).reshape(RECIPE.shape)
    np.testing.assert_allclose(found, truth(data, SPACING, RECIPE), atol=1e-12)


def test_agrees_with_its_sources(made: Path) -> None:
    found = list(compare(made / "split", str(made / "source"), 2))
    assert len(found) == 2
    assert all(one.passed and 0 < one.worst <= STEP for one in found), [one.describe() for one in found]


def test_agrees_with_shards_of_itself_and_of_raw_volumes(made: Path) -> None:
    found = list(compare(made / "split", str(made / "split/shard-{000000..000000}.tar"), 9))
    assert [one.worst for one in found] == [0.0, 0.0, 0.0]
    with tarfile.open(made / "raw.tar", "w") as archive:
        for path in sorted((made / "source/deep").iterdir()):
            archive.add(path, path.name)
    assert all(one.passed for one in compare(made / "split", str(made / "r*w.tar"), 9))


def test_tells_what_differs_and_what_is_missing(made: Path) -> None:
    (made / "source/deep/train_0_a_1.nii.gz").write_bytes(nifti(chest((30, 28, 20), 99), SPACING))
    (made / "source/deep/train_1_a_1.nii.gz").unlink()
    (made / "source/deep/train_2_a_1.nii.gz").write_bytes(b"no volume")
    found = {one.key: one for one in compare(made / "split", str(made / "source"), 3)}
    assert not any(one.passed for one in found.values())
    assert found["train_0_a_1"].describe().startswith("FAIL train_0_a_1: largest difference")
    assert "is not in" in found["train_1_a_1"].describe()
    assert "cannot be compared" in found["train_2_a_1"].describe()


def test_refuses_what_names_nothing_or_other_preprocessing(made: Path) -> None:
    for pattern in ("/no/such/*.tar", "shard-{000000..000003"):
        with pytest.raises(BadInput, match="neither a folder nor a pattern"):
            list(compare(made / "split", pattern, 1))
    manifest: dict[str, Any] = json.loads((made / "split/manifest.json").read_text())
    manifest["preprocessing"]["interpolation"] = "cubic"
    (made / "split/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="another version"):
        list(compare(made / "split", str(made / "source"), 1))


def test_describes_a_split(made: Path) -> None:
    text = describe_split(made / "split")
    assert "CT-RATE train: 3 volumes of 40×36×24 float16 in 1 shards" in text
    assert "train_9_a_1: blank" in text
    assert "Medical material" in text


@pytest.mark.parametrize("cut", [0, 700, 3_000])
def test_a_damaged_tar_to_compare_with_is_named(made: Path, cut: int) -> None:
    shard = (made / "split" / shard_name(0)).read_bytes()
    other = made / "other.tar"
    other.write_bytes(shard[:cut] if cut else b"no tar at all" * 100)
    with pytest.raises(BadInput, match=r"other\.tar cannot be read as a tar .*: fetch it again"):
        list(compare(made / "split", str(other), 9))
