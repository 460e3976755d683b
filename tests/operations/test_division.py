"""Backfills that run at once divide the work, and end."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.operations.division import FEW, Division, share
from imgassets.planning.graph import Asset
from tests.cli import CHECKOUT, Home

fork = get_context("fork")
KEYS = [f"part_{number:02}" for number in range(40)]


@given(st.sets(st.sampled_from(KEYS), min_size=1), st.lists(st.sampled_from(KEYS)), st.integers(1, 40))
def test_a_share_is_of_what_the_fewest_are_at(left: set[str], told: list[str], size: int) -> None:
    asset: Any = SimpleNamespace(keys=lambda _: KEYS, run_size=size)
    workers = Counter(told)

    def runs(keys: Any) -> Iterator[list[str]]:
        return Asset.runs(asset, keys, instance=None)  # type: ignore[arg-type]

    chosen = share(sorted(left), workers, runs)
    assert chosen
    assert set(chosen) <= left
    assert len({workers[key] for key in chosen}) == 1
    fewest = workers[chosen[0]]
    assert fewest == min(workers[key] for key in left)
    same = [run for run in runs([key for key in left if workers[key] == fewest]) if set(chosen) <= set(run)]
    assert len(same) == 1  # neighbours
    if not fewest:
        assert chosen == next(runs([key for key in left if not workers[key]]))
    elif len(same[0]) > FEW:
        assert chosen == same[0][len(same[0]) // 2 :]


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"asset": "a"}', '{"asset": "a", "keys": 1}', "[" * 100_000])
def test_what_another_tells_in_a_damaged_file_is_passed_over(tmp_path: Path, text: str) -> None:
    with (tmp_path / "other.json").open("w") as other, closing(Division(tmp_path, "a")) as division:
        other.write(text)
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert division.take(lambda told: [str(len(told))]) == ["0"]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 40), st.randoms())
def test_whoever_comes_everything_is_made(count: int, backfills: int, size: int, dice: Any) -> None:
    """Several at once, in any order: each partition is made, hardly any twice, and nobody goes on for ever."""
    keys = KEYS[:count]
    asset: Any = SimpleNamespace(keys=lambda _: keys, run_size=size)
    made: Counter[str] = Counter()
    at: dict[int, list[str]] = {}
    left = dict.fromkeys(range(backfills), keys)
    while left:
        who = dice.choice(sorted(left))
        if at.get(who):
            key = at[who].pop(0)
            if not made[key]:  # else it is found unchanged
                made[key] += 1
            continue
        workers = Counter(key for other, busy in at.items() if other != who for key in busy)
        left[who] = [key for key in left[who] if not made[key]]
        if not left[who]:
            del left[who]
            at.pop(who, None)
            continue
        at[who] = share(left[who], workers, lambda keys: Asset.runs(asset, keys, instance=None))  # type: ignore[arg-type]
    assert set(made) == set(keys)


def test_others_are_heard_while_they_live(tmp_path: Path) -> None:
    ready, end = fork.Event(), fork.Event()

    def other() -> None:
        division = Division(tmp_path, "set/made")
        division.take(lambda _: ["a", "b"])
        ready.set()
        end.wait(20)
        os.kill(os.getpid(), signal.SIGKILL)

    heard: list[dict[str, int]] = []

    def hear(workers: Counter[str]) -> list[str]:
        heard.append(dict(workers))
        return []

    process = fork.Process(target=other)
    process.start()
    ready.wait(20)
    with closing(Division(tmp_path, "set/made")) as mine, closing(Division(tmp_path, "set/else")) as unrelated:
        mine.take(hear)
        unrelated.take(hear)
        end.set()
        process.join()
        mine.take(hear)
    assert heard == [{"a": 1, "b": 1}, {}, {}]
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_without_locks_everybody_is_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with closing(Division(tmp_path / "file", "set/made")) as division:
        assert division.take(lambda workers: [f"nobody: {not workers}"]) == ["nobody: True"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 20])
def test_equal_backfills_at_once_divide_the_work_and_end(tmp_path: Path, count: int) -> None:
    home = Home(tmp_path)
    shards = 160
    environment = {"IMGASSETS_TFRECORD_SHARDS": f"{shards},1", "DAGSTER_HOME": str(tmp_path)}
    assert home("sample-data", "--dataset", "ilsvrc2012").code == 0
    assert home("backfill", "ilsvrc2012/tar_index").code == 0
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", "from imgassets.cli import main; main(prog_name='imgassets')"]
    begun = [
        subprocess.Popen(
            [*command, "backfill", "ilsvrc2012/tfrecords", "--json"],
            env=os.environ | environment | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    outcomes = [json.loads(process.communicate(timeout=500)[0])[0] for process in begun]
    assert [process.returncode for process in begun] == [0] * count
    built = [key for outcome in outcomes for key in outcome["built"]]
    assert len(built) == len(set(built)) == shards + 1
    assert sum(len(outcome["built"]) > shards // 20 for outcome in outcomes) >= 4  # no one did it all
    assert all(len(outcome["built"]) + len(outcome["unchanged"]) == shards + 1 for outcome in outcomes)
    assert [path.name for path in (tmp_path / "imgassets" / "backfills").iterdir()] == ["lock"]
