"""What people who come from a guide look for in logs and on the terminal is there, in its words."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import yaml
from click.testing import CliRunner

from imgassets.cli import main
from imgassets.formats.ct_training import training_yaml
from imgassets.operations.view import view
from tests.components.ct.test_volumes import World
from tests.operations.test_ct import graph_of
from tests.operations.test_ct import world as world
from tests.operations.test_ct_compare import made as made


def test_shards_that_are_there_and_that_are_not(world: World) -> None:
    world.make("volume_index", "train")
    shards = graph_of(world).assets[dg.AssetKey(["ct", "shards"])]
    keys = world.partitions("train")

    def said() -> list[str]:
        return shards.io_manager.words_before(shards.key, keys)

    assert said() == [f"train: Found 0/{len(keys)} existing shards", f"train: Missing {len(keys)} shards"]
    world.make("shards", keys[0])
    assert said()[0] == f"train: Found 1/{len(keys)} existing shards"
    assert shards.io_manager.words_before(shards.key, []) == []


def test_the_manifest_s_totals_and_the_training_s_configuration(world: World, tmp_path: Path) -> None:
    world.all("train")
    manifest = graph_of(world).assets[dg.AssetKey(["ct", "manifest"])]
    path, samples, shards = manifest.words_after(["train"])
    assert path == f"Generated manifest: {manifest.artifact('train').location.path}"
    count = len(world.partitions("train"))
    assert shards.strip() == f"Total shards: {count}"
    assert int(samples.rpartition(" ")[2]) == manifest.artifact("train").manifest.facts["total_samples"]
    view(manifest, ["train"], tmp_path / "view")
    data = yaml.safe_load((tmp_path / "view" / "training.yaml").read_text())["data"]
    assert data["preprocessed"] is True
    pattern = data["train_shard_pattern"]
    assert pattern == data["webdataset_shards_train"]
    assert pattern.endswith(f"/shard-{{000000..{count - 1:06d}}}.tar")
    assert (Path(pattern).parent / "manifest.json").is_file()


def test_odd_folders_in_the_configuration() -> None:
    text = training_yaml({"valid": Path('/a: b/"c"#')}, {"valid": 60})
    data = yaml.safe_load(text)["data"]
    assert data["valid_shard_pattern"] == '/a: b/"c"#/shard-{000000..000059}.tar' == data["webdataset_shards_val"]


def test_verification_that_found_nothing(made: Path) -> None:
    arguments = ["verify", str(made / "split"), "--against", str(made / "source"), "--num-samples", "3"]
    done = CliRunner().invoke(main, arguments, env={"DAGSTER_HOME": str(made)})
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "All samples passed verification!"
    (made / "source" / "deep" / "train_1_a_1.nii.gz").unlink()
    failed = CliRunner().invoke(main, arguments, env={"DAGSTER_HOME": str(made)})
    assert failed.exit_code == 1
    assert "passed verification" not in failed.output


def test_a_line_for_each_tfrecord_shard(tmp_path: Path) -> None:
    from imgassets.commit import Location
    from imgassets.environment import Storage
    from imgassets.io.tfrecords import TFRecordsIOManager

    manager = TFRecordsIOManager(storage=Storage(store=str(tmp_path), raw=str(tmp_path), state=str(tmp_path)))
    location = manager._location(dg.AssetKey(["ilsvrc2012", "tfrecords"]), "train-00000-of-00001")
    assert isinstance(location, Location)
    assert manager.words_after(location, None) == [  # type: ignore[arg-type]
        f"Finished writing file: {tmp_path}/ilsvrc2012/tfrecords/train-00000-of-00001"
    ]
