"""What plans foresee, to the byte where the size is fixed beforehand, compared with what lies in the vault."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from imgassets.formats.tf_example import ImageExample, example_bytes
from tests.operations.conftest import CHECKOUT, Home

EXACT = {"imagenet64/arrays"}
DETERMINED = 0.02
"""Relative difference allowed where the size is determined beforehand: everything but these."""
GUESSED = {"dmd2/generated", "imagenet64/npz_index", "ilsvrc2012/tar_index"}
"""Images that nobody has seen, and tables that compress."""


def sizes(home: Home, *arguments: str) -> dict[str, tuple[int, int]]:
    """Foreseen and actual bytes by partition."""
    steps = home.json("plan", *arguments, "--force")["partitions"]
    return {f"{step['asset']}/{step['partition']}": (step["write"], step["replaced"]) for step in steps}


@pytest.mark.parametrize("group", ["imagenet64", "ilsvrc2012", "mini", "dmd2"])
def test_foreseen_sizes(sampled: Home, group: str) -> None:
    found = {name: pair for name, pair in sizes(sampled, f"group:{group}").items() if pair[1]}
    assert found
    for name, (foreseen, actual) in found.items():
        asset = name.rpartition("/")[0]
        if asset in EXACT:
            assert foreseen == actual, name
        elif asset == "ilsvrc2012/tfrecords":
            manifest = sampled.path / "store" / "ilsvrc2012" / "tfrecords" / ".imgassets" / f"{name.split('/')[2]}.json"
            if '"converted": 0' in manifest.read_text():  # whose new size nobody knows
                assert foreseen == actual, name
        elif asset not in GUESSED | {"imagenet64/csv_sample"}:
            assert foreseen == pytest.approx(actual, rel=DETERMINED), name


def test_before_the_index_is_there_an_archive_is_its_images(home: Home) -> None:
    home.run("sample-data", "--dataset", "ilsvrc2012", str(home.path / "raw"))
    steps = home.json("plan", "+ilsvrc2012/tfrecords")["partitions"]
    archive = home.path / "raw" / "ilsvrc2012" / "ILSVRC2012_img_train.tar"
    train = [step for step in steps if step["partition"].startswith("train-")]
    assert {step["write"] for step in train} == {archive.stat().st_size // 1024}
    assert {step["verdict"] for step in steps} == {"build"}
    assert all(step["seconds"] is not None for step in steps)


def test_size_of_an_example() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(200):
        name = "x" * int(rng.integers(0, 300))
        synset = "y" * int(rng.integers(0, 300))
        label, height, width = (int(2 ** rng.uniform(0, 40)) for _ in range(3))
        jpeg = bytes(int(2 ** rng.uniform(0, 22)))
        parts = ImageExample(name, synset, label, height, width, jpeg).parts()
        columns = [np.array([n]) for n in (len(name), len(synset), label, height, width, len(jpeg))]
        assert example_bytes(*columns).tolist() == [sum(map(len, parts))]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_plan_writes_nothing(sampled: Home) -> None:
    log = sampled.path.parent / "strace.log"
    calls = "openat,open,creat,rename,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,link,symlink"
    script = "from imgassets.cli import main; main(['plan', '*'])"
    environment = {"PYTHONPATH": str(CHECKOUT), "DAGSTER_HOME": str(sampled.path), "PATH": "/usr/bin:/bin"}
    environment |= {"IMGASSETS_TFRECORD_SHARDS": "7,3", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"IMGASSETS_CT_REPO": str(sampled.path / "raw" / "ct_rate")}
    sampled.run("status", "mini/ipc_store")  # the home has its databases
    before = sampled.tree()
    ended = subprocess.run(
        [*f"strace -f -qq -e signal=none -e trace={calls} -o".split(), str(log), sys.executable, "-c", script],
        env=environment,
        check=False,
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sampled.tree() == before
    done = [line for line in log.read_text().splitlines() if " = -1 " not in line and "O_RDONLY" not in line]
    assert any(str(sampled.path) in line for line in done)
    # SQLite makes and removes these two beside a database that it reads
    written = [line for line in done if not re.search(r'"[^"]*\.db(-wal|-shm)?"|"/dev/null"', line)]
    assert written == []
