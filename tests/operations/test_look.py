"""What `trace` and `inspect` tell is what is on the disk."""

from __future__ import annotations

import io
import tarfile

import numpy as np

from tests.operations.conftest import BATCHES, Home


def test_trace_goes_down_to_the_raw_files(made: Home) -> None:
    found = made.json("trace", "imagenet64/csv_sample/train")
    names = [one["name"] for one in found]
    train = BATCHES[:-1]
    assert len(names) == len(set(names))
    assert set(names) == {
        "imagenet64/csv_sample/train",
        *(f"imagenet64/{asset}/{batch}" for asset in ("arrays", "npz_index") for batch in train),
        *(f"imagenet64/{batch}.npz" for batch in train),
    }
    assert not any(one["changed"] for one in found)
    text = made.run("trace", "imagenet64/csv_sample/train").output.splitlines()
    assert "csv_size_gb 0.001" in text[0]
    made.write("train_data_batch_2", seed=500)
    changed = [one["name"] for one in made.json("trace", "imagenet64/csv_sample/train", code=1) if one["changed"]]
    assert changed == ["imagenet64/train_data_batch_2.npz"]
    assert "csv_sample --partitions` lists them" in made.run("trace", "imagenet64/csv_sample", code=2).output


def test_inspect_knows_artifacts_and_files(made: Home) -> None:
    folder = made.store / "arrays" / "val_data"
    (artifact,) = made.json("inspect", str(folder))
    assert artifact["artifact"] == "imagenet64/arrays/val_data"
    assert artifact["facts"]["rows"] == 5
    assert "imagenet64/arrays/val_data" in made.run("inspect", str(folder)).output
    (npy,) = made.json("inspect", str(folder / "images.npy"))
    assert npy["shape"] == list(np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False).shape)
    (table,) = made.json("inspect", str(made.store / "npz_index" / "val_data" / "index.parquet"))
    assert table["rows"] == 5
    with tarfile.open(made.path / "some.tar", "w") as archive:
        for number in range(7):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = 10
            archive.addfile(info, io.BytesIO(bytes(10)))
    (tar,) = made.json("inspect", str(made.path / "some.tar"))
    assert (tar["members"], tar["content"], tar["first"]) == (7, 70, [f"{n}.bin" for n in range(5)])
    (made.path / "some.tar").write_bytes(b"no tar")
    assert "error" in made.json("inspect", str(made.path / "some.tar"), code=1)[0]
    assert "a text" in made.run("inspect", str(made.path / "dagster.yaml")).output
