"""Checks that a run did not come to are run by the next backfill, whatever had kept the run from them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imgassets.operations import checks, launcher
from imgassets.operations.selection import definitions, select_one
from tests.operations.conftest import BATCHES, CHECKOUT, Home, clear, enter, fresh, remember

KILLED = """
import os, signal
from {module} import {owner} as owner

def killed(*_):
    '''Dies.'''
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, {name!r}, killed)
from imgassets.cli import main
main(["backfill", {asset!r}])
"""


def kill(asset: str, module: str, owner: str, name: str) -> None:
    """A backfill of `asset` that is killed where it first calls a function."""
    script = KILLED.format(asset=asset, module=module, owner=owner, name=name)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=CHECKOUT, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = fresh(tmp_path_factory.mktemp("killed") / "home")
    with pytest.MonkeyPatch.context() as patch:
        enter(home, patch)
        home.run("backfill", "imagenet64/npz_index", "--json")
        kill("imagenet64/arrays", "imgassets.components.npz", "checks", "_class_ids_in_range")
    clear()
    return home


@pytest.fixture
def killed(killed_once: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """All arrays are made and recorded; of their two checks one is done, the other was about to begin."""
    home = Home(tmp_path / "home")
    shutil.copytree(killed_once.path, home.path)
    enter(home, monkeypatch)
    remember(home)
    yield home
    clear()


def states(asset: str) -> dict[str, dict[str, int]]:
    """How many partitions Dagster counts under each state, by check."""
    found = select_one(asset)
    keys = [(check, found.partitions) for check in checks.checks_of(found.key)]
    with dg.DagsterInstance.get() as instance:
        state = instance.event_log_storage.get_asset_check_state(keys)
    return {
        check.name: {status.value: subset.size for status, subset in one.subsets.items() if subset.size}
        for check, one in state.items()
    }


def runs() -> int:
    with dg.DagsterInstance.get() as instance:
        return instance.get_runs_count()


@pytest.mark.parametrize("options", [(), ("--missing",), ("--failed",)])
def test_checks_that_a_killed_run_left_are_run_by_the_next_backfill(killed: Home, options: tuple[str, ...]) -> None:
    with dg.DagsterInstance.get() as instance:  # as the daemon does when it finds the process gone
        (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        instance.report_run_failed(run)
    assert states("imagenet64/arrays")["labels_in_range"] == {"EXECUTION_FAILED": 11}
    assert killed.json("status", "imagenet64/arrays")[0]["unchecked"] == 11
    assert "11 unchecked; `imgassets backfill imagenet64/arrays`" in killed.run("status", "imagenet64/arrays").output
    before = killed.content()
    (outcome,) = killed.json("backfill", "imagenet64/arrays", *options)
    assert (outcome["built"], outcome["failed"]) == ([], {})
    assert outcome["checked"] == outcome["unchanged"] == BATCHES
    assert killed.content() == before
    assert "EXECUTION_FAILED" not in states("imagenet64/arrays")["labels_in_range"]
    assert killed.json("status", "imagenet64/arrays")[0]["unchecked"] == 0
    done = runs()
    assert killed.json("backfill", "imagenet64/arrays", *options)[0]["checked"] == []
    assert runs() == done


def test_a_killed_run_that_nobody_has_marked_as_failed_is_known_by_its_process(killed: Home) -> None:
    assert killed.json("backfill", "imagenet64/arrays")[0]["checked"] == BATCHES


def test_only_the_checks_that_were_left_are_run(killed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run_checks, ran = checks.run_checks, []

    def noted(due: Any, *arguments: Any) -> Any:
        ran.append([check.name for check in due])
        return run_checks(due, *arguments)

    monkeypatch.setattr("imgassets.operations.backfill.run_checks", noted)
    for wanted in (BATCHES[1:2], BATCHES[:4]):
        between = f"{wanted[0]}..{wanted[-1]}"
        (outcome,) = killed.json("backfill", "imagenet64/arrays", "--partitions", between)
        assert outcome["unchanged"] == wanted
    assert ran == [["labels_in_range"]] * 3  # the second, then its neighbours on both sides


def test_what_a_run_at_work_has_planned_is_left_to_it(killed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (checks, launcher):
        monkeypatch.setattr(module, "gone", lambda *_: None)
    assert killed.json("backfill", "imagenet64/arrays")[0]["checked"] == []


@pytest.mark.slow
def test_a_check_of_all_partitions_that_was_left_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fresh(tmp_path / "home")
    enter(home, monkeypatch)
    monkeypatch.setenv("IMGASSETS_TFRECORD_SHARDS", "3,2")
    home.run("sample-data", "--dataset", "ilsvrc2012")
    home.run("backfill", "ilsvrc2012/tar_index", "--json")
    for _ in range(3):  # in the run of either split, and when all shards had been checked
        kill("ilsvrc2012/tfrecords", "imgassets.components.ilsvrc.checks", "_Found", "__init__")
    (outcome,) = home.json("backfill", "ilsvrc2012/tfrecords")
    assert (outcome["built"], outcome["checked"], outcome["failed_checks"]) == ([], ["*"], {})
    assert home.json("backfill", "ilsvrc2012/tfrecords")[0]["checked"] == []
    clear()


def test_a_partition_that_fails_leaves_no_other_unchecked(home: Home) -> None:
    path = home.raw / "train_data_batch_10.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    (outcome,) = home.json("backfill", "imagenet64/npz_index", code=1)
    good = [batch for batch in BATCHES if batch != path.stem]
    assert (list(outcome["failed"]), outcome["checked"]) == ([path.stem], good)
    assert home.json("status", "imagenet64/npz_index", code=1)[0]["unchecked"] == 0
    path.write_bytes(whole)
    (outcome,) = home.json("backfill", "imagenet64/npz_index")
    assert (outcome["built"], outcome["checked"]) == ([path.stem], [])


def test_partitions_that_were_made_without_their_checks_are_checked(home: Home) -> None:
    asset = select_one("imagenet64/npz_index")
    job = definitions().resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        tags = {"dagster/partition": "val_data"}
        subset = job.get_subset(asset_selection={asset.key}, asset_check_selection=set())
        assert subset.execute_in_process(instance=instance, tags=tags).success
    assert home.json("status", "imagenet64/npz_index")[0]["unchecked"] == 1
    (outcome,) = home.json("backfill", "imagenet64/npz_index", "--missing", "--partitions", "val_data")
    assert (outcome["unchanged"], outcome["checked"]) == (["val_data"], ["val_data"])


def test_a_check_that_breaks_is_told_and_tried_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        """Has a mistake."""
        raise ValueError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr("imgassets.components.npz.checks._index_complete", broken)
        for _ in range(2):
            (outcome,) = home.json("backfill", "imagenet64/npz_index")
            name = "index_complete of train_data_batch_1..val_data"
            assert outcome["failed_checks"] == {name: "error: ValueError: a mistake of ours"}
    assert runs() == 2
    clear()
    (outcome,) = home.json("backfill", "imagenet64/npz_index")
    assert (outcome["checked"], outcome["failed_checks"]) == (BATCHES, {})
