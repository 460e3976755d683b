import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import polars
import pyarrow.parquet as pq  # noqa: TID253
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgassets.errors import BadInput, StoreError
from imgassets.formats.activation_npz import ActivationReader, write_batch, write_npz
from imgassets.formats.features import FEATURES, GROUP, FeatureWriter, pooled_matrix
from tests.formats.sinks import published, stage

RNG = np.random.default_rng(0)


def samples(count: int) -> list[dict[str, object]]:
    return [{"global_index": 40 + i, "class_id": i, "class_name": "crane é"} for i in range(count)]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numpy_reads_what_is_written(tmp_path: Path, compressed: bool, dtype: type) -> None:
    layers = {"midblock": RNG.normal(size=(5, 192)).astype(dtype), "encoder_block_3": np.ones((5, 7), dtype)}
    made = stage(tmp_path)
    write_batch(made, 3, layers, samples(5), compressed=compressed)
    folder = published(made)
    with np.load(folder / "batch_000003.npz", allow_pickle=False) as archive:
        assert archive.files == ["midblock", "encoder_block_3"]
        for name, rows in layers.items():
            assert archive[name].dtype == dtype
            np.testing.assert_array_equal(archive[name], rows)
    document = json.loads((folder / "batch_000003.json").read_text(encoding="utf-8"))
    assert document["batch_size"] == 5
    assert document["layers"] == ["midblock", "encoder_block_3"]
    assert [s["batch_index"] for s in document["samples"]] == list(range(5))
    assert document["samples"][4] == {"batch_index": 4, **samples(5)[4]}
    kinds = {i.compress_type for i in zipfile.ZipFile(folder / "batch_000003.npz").infolist()}
    assert kinds == {zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED}
    assert subprocess.run(["unzip", "-tq", folder / "batch_000003.npz"], check=False).returncode == 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 40), st.integers(1, 300), st.booleans())
def test_any_shape_survives(tmp_path: Path, rows: int, width: int, transposed: bool) -> None:
    folder = tmp_path / os.urandom(4).hex()
    array = RNG.normal(size=(width, rows)).astype(np.float32).T if transposed else np.ones((rows, width), np.float32)
    made = stage(folder)
    with made.create("a.npz") as sink:
        write_npz(sink, {"x": array})
    with np.load(published(made) / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["x"], array)


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    layers = {"midblock": np.ones((2, 3), np.float32)}
    folders = []
    for name in "ab":
        made = stage(tmp_path / name)
        write_batch(made, 0, layers, samples(2))
        folders.append(published(made))
    for name in ("batch_000000.npz", "batch_000000.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_rows_must_fit_samples(tmp_path: Path) -> None:
    made = stage(tmp_path)
    with pytest.raises(ValueError, match="3 samples"):
        write_batch(made, 0, {"midblock": np.ones((2, 3), np.float32)}, samples(3))
    write_batch(made, 0, {"midblock": np.ones((2, 3), np.float32)}, samples(2))
    folder = published(made)
    (folder / "batch_000000.json").write_text(json.dumps({"samples": samples(1)}))
    with pytest.raises(StoreError, match=r"batch_000000.npz and its .json disagree"):
        ActivationReader(folder).read(0)


def test_features_are_a_table_for_other_programs(tmp_path: Path) -> None:
    made = stage(tmp_path)
    pooled = RNG.normal(size=(7, 6)).astype(np.float32)
    with made.create(FEATURES) as sink:
        writer = FeatureWriter(sink, {"midblock": 6})
        for part in (slice(0, 4), slice(4, 7)):
            index = np.arange(7)[part] + 100
            norm = {"midblock": pooled[part, 0]}
            writer.append(index, index % 3, {"midblock": pooled[part]}, norm, norm)
        writer.close()
    folder = published(made)
    frame = polars.read_parquet(folder / FEATURES)
    assert frame["global_index"].to_list() == list(range(100, 107))
    np.testing.assert_array_equal(np.array(frame["midblock"].to_list(), np.float32), pooled)
    table = ActivationReader(folder).features()
    np.testing.assert_array_equal(pooled_matrix(table, "midblock"), pooled)
    np.testing.assert_array_equal(pooled_matrix(table.slice(2, 3), "midblock"), pooled[2:5])
    with pytest.raises(BadInput, match="no layer 'x', only midblock"):
        pooled_matrix(table, "x")


def test_row_groups_do_not_follow_the_batches(tmp_path: Path) -> None:
    made = stage(tmp_path)
    one = {"midblock": np.zeros((1, 2), np.float32)}
    with made.create(FEATURES) as sink:
        writer = FeatureWriter(sink, {"midblock": 2})
        for i in range(GROUP + 5):
            writer.append(np.array([i]), np.array([0]), one, {"midblock": np.zeros(1)}, {"midblock": np.zeros(1)})
        writer.close()
    file = pq.ParquetFile(published(made) / FEATURES)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [GROUP, 5]
    file.close()


def test_no_row_at_all(tmp_path: Path) -> None:
    made = stage(tmp_path)
    with made.create(FEATURES) as sink:
        FeatureWriter(sink, {"midblock": 6}).close()
    assert len(ActivationReader(published(made)).features()) == 0
