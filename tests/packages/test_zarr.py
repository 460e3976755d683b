"""A codec of another package: found by its entry point, held to the contract, named in YAML, read by zarr-python."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.stores import open_store, registry
from imgassets.stores.registry import BUNDLED, codec_names, codec_of
from imgassets.testing.codec import CodecContract, contents
from imgassets.testing.making import arrays, content, folder, make
from tests.io.test_stores import StoresContract

PACKAGE = Path(__file__).parent / "imgassets-zarr"
ZARR = Path(__file__).parents[2] / ".venv" / "zarr" / "bin" / "python"
READ = """
import json, sys, numpy, zarr
group = zarr.open_group(sys.argv[1], mode="r")
numpy.savez(sys.argv[2], **{name: array[:] for name, array in group.arrays()})
for name, inner in group.groups():
    numpy.savez(f"{sys.argv[2]}.{name}.npz", **{key: array[:] for key, array in inner.arrays()})
"""


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As `pip install` leaves it, for this process."""
    target = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copy(PACKAGE / "imgassets_zarr.py", target)
    about = target / f"imgassets_zarr-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"][registry.GROUP].items()
    lines = [f"[{registry.GROUP}]", *(f"{name} = {value}" for name, value in points)]
    (about / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(target)
        forget()
        yield target
    forget()


def forget() -> None:
    codec_names.cache_clear()
    codec_of.cache_clear()


class TestZarr(CodecContract):
    format = "zarr"


class TestZarrAsAssets(StoresContract):
    name = "zarr"


def test_it_is_a_codec_like_any_other() -> None:
    assert codec_names() == (*BUNDLED, "zarr")
    assert codec_of("zarr/1").format == "zarr/1"


@pytest.mark.skipif(not ZARR.exists() and not os.environ.get("CI"), reason="no zarr-python: run `make .venv/zarr`")
def test_zarr_python_reads_every_row(tmp_path: Path) -> None:
    from imgassets.sources.folder import class_folder

    source = arrays(20)
    path = make(tmp_path, source, "zarr", images_per_file=15)
    seen = [read(path / f"shard-00000{k}.zarr", tmp_path / f"{k}.npz") for k in (0, 1)]
    for name, column in content(source).items():
        np.testing.assert_array_equal(np.concatenate([one[name] for one in seen]), column)
    files = class_folder(folder(tmp_path / "photos"))
    path = make(tmp_path, files, "zarr", "files")
    labels = read(path / "shard-000000.zarr", tmp_path / "files.npz")["label"]
    assert labels.tolist() == content(files)["label"].tolist()
    inner = np.load(tmp_path / "files.npz.image.npz")
    rows = np.split(inner["data"], inner["offsets"][1:-1])
    assert [row.tobytes() for row in rows] == [bytes(row) for row in content(files)["image"]]


def read(group: Path, into: Path) -> dict[str, np.ndarray]:
    subprocess.run([ZARR, "-c", READ, str(group), str(into)], check=True, capture_output=True)
    with np.load(into) as arrays:
        return dict(arrays)


def test_a_dataset_in_yaml_asks_for_it(installed: Path, tmp_path: Path) -> None:
    from imgassets.operations.scaffold import scaffold
    from imgassets.projects import PACKAGE as OURS

    project = tmp_path / "photos"
    scaffold(project)
    folder(project / "dagster_home" / "raw" / "folders" / "cats", 2)
    declared = project / "photos" / "defs" / "cats" / "defs.yaml"
    declared.parent.mkdir()
    text = "type: imgassets.components.ImageFolder\nattributes: {name: cats, stores: [memmap, zarr]}\n"
    declared.write_text(text)
    path = os.pathsep.join([str(installed), str(OURS.parent)])
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS"))} | {"PYTHONPATH": path}

    def run(*command: str, code: int = 0) -> str:
        main = "from imgassets.cli import main; main(prog_name='imgassets')"
        done = subprocess.run(
            [sys.executable, "-c", main, *command],
            cwd=project,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("backfill", "*")
    assert [one["current"] for one in json.loads(run("status", "--json"))] == [1, 1]
    assert "0 findings" in run("verify", "*")
    store = project / "dagster_home" / "store" / "cats" / "zarr_store" / "all"
    run("view", "cats/zarr_store", str(tmp_path / "view"))
    assert contents(tmp_path / "view").keys() - contents(store).keys() == {".imgassets/links.json"}
    assert len(open_store(tmp_path / "view")) == 11
    chunk = store / "shard-000000.zarr" / "image" / "data" / "c" / "0"
    data = bytearray(chunk.read_bytes())
    data[10] ^= 1
    chunk.write_bytes(data)
    assert "image/data/c/0 is damaged" in run("verify", "*", code=1)
    run("repair", "*")
    assert len(open_store(store)) == len(open_store(store.parents[1] / "memmap_store" / "all")) == 11
    declared.write_text(text.replace("zarr]", "zar]"))
    assert re.search("Input should be 'memmap', .* or 'zarr'", run("status", code=1))


def test_its_stores_say_that_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, arrays(3), "zarr")
    with monkeypatch.context() as patch:
        patch.setattr(registry, "entry_points", lambda group: [])
        forget()
        with pytest.raises(BadInput, match=r"no store format 'zarr/1': .* install the package that has it"):
            open_store(path)
    forget()


def test_no_file_of_the_library_knows_it() -> None:
    files = [path for path in Path(registry.__file__).parents[1].rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 200
    known = [path.name for path in files if b"zarr" in path.read_bytes().lower() or "zarr" in path.name]
    assert set(known) <= {"recognize.py", "stores.md"}  # which tell what other libraries wrote, and that it is not read
