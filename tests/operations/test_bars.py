"""The bar of a backfill moves while a step runs, on the terminal it was begun on, and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import pytest

from tests.operations.conftest import CHECKOUT, Home

LASTS, CHECKED = 4.0, 1.5
"""Seconds that the step works, and that its check does."""
SLOW = f"""
import os
import time
from pathlib import Path

from imgassets.components.npz import checks as npz_checks
from imgassets.io.arrays import ArraysIOManager

write, judge = ArraysIOManager.write, npz_checks._class_ids_in_range

def slowly(self, content, stage):
    begun = time.monotonic()
    for _ in range(40):
        time.sleep({LASTS} / 40)
        stage.progress(1_000_000)
    Path(os.environ["DAGSTER_HOME"], "worked").write_text(f"{{begun}} {{time.monotonic()}}")
    return write(self, content, stage)

def slow(artifact):
    '''Takes its time.'''
    time.sleep({CHECKED})
    return judge(artifact)

ArraysIOManager.write, npz_checks._class_ids_in_range = slowly, slow
from imgassets.cli import main
main(["backfill", "imagenet64/arrays", "--partitions", "val_data"])
"""
COMMAND = [sys.executable, "-W", "ignore", "-c", SLOW]


@pytest.fixture
def indexed(home: Home) -> Home:
    home.run("backfill", "imagenet64/npz_index", "--partitions", "val_data", "--json")
    return home


def seen(command: list[str]) -> list[tuple[float, str]]:
    """What a command writes to a terminal that is its stderr, with the time of each piece."""
    ours, its = pty.openpty()
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=its) as process:
        os.close(its)
        pieces: list[tuple[float, str]] = []
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux says so when the last writer is gone
                data = b""
            if not data:
                break
            pieces.append((time.monotonic(), data.decode(errors="replace")))
    os.close(ours)
    assert process.returncode == 0, "".join(text for _, text in pieces)
    return pieces


def test_it_moves_while_a_step_runs_and_tells_what_it_is_at(indexed: Home) -> None:
    pieces = seen(COMMAND)
    begun, ended = map(float, (indexed.path / "worked").read_text().split())
    during = [(moment, text) for moment, text in pieces if begun <= moment <= ended]
    times = [begun, *(moment for moment, _ in during), ended]
    assert max(b - a for a, b in pairwise(times)) < 1
    text = "".join(text for _, text in during)
    assert "imagenet64/arrays" in text
    assert len(set(re.findall(r"\d:\d\d:\d\d", text))) >= LASTS - 1  # the clock ticks
    assert len(set(re.findall(r"\d+ MB, \d+ MB/s", text))) >= LASTS
    after = "".join(text for moment, text in pieces if moment > ended)
    assert "checking labels_in_range, 0/1" in after
    assert "1/1" in after
    assert "1 built, 0 unchanged, 0 failed" in after


def test_a_plan_counts_the_checks_of_the_run_before(indexed: Home) -> None:
    subprocess.run(COMMAND, cwd=CHECKOUT, capture_output=True, check=True)
    planned = indexed.json("plan", "imagenet64/arrays", "--partitions", "val_data", "--force")["totals"]
    assert planned["seconds"] >= LASTS + CHECKED


@pytest.mark.parametrize(
    "arguments",
    [["sample-data", "--dataset", "imagenet64"], ["plan", "imagenet64/npz_index"], ["verify", "imagenet64/npz_index"]],
)
def test_what_may_take_long_has_a_bar_on_a_terminal(indexed: Home, arguments: list[str]) -> None:
    script = f"from imgassets.cli import main\nmain({arguments!r})"
    shown = "".join(text for _, text in seen([sys.executable, "-W", "ignore", "-c", script]))
    assert "100%" in shown


def test_elsewhere_than_on_a_terminal_it_is_text(indexed: Home) -> None:
    environment: dict[str, Any] = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    done = subprocess.run(COMMAND, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
    assert "1 built, 0 unchanged, 0 failed" in done.stderr
    assert "\x1b" not in done.stderr
    assert "MB/s" not in done.stderr
    assert done.stderr.count("imagenet64/arrays") == 1
