"""Where fault tests work, and on what."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commit import invariants
from tests.commit.invariants import KINDS, MEMORY, STARTS, Case
from tests.commit.test_two_writers import GROUP
from tests.commit.victim import Kind

TABLE = "| fault | points | bad |\n|---|---|---|\n"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """A folder of several files, or one file."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[(kind, start) for kind in KINDS for start in STARTS], ids="-".join)
def case(request: pytest.FixtureRequest, scratch: Path) -> Case:
    """Either kind in every state an attempt may begin in."""
    kind, start = request.param
    return Case(kind, start, scratch)


@pytest.fixture(params=[True, False], ids=["exchange", "no-exchange"])
def exchange(request: pytest.FixtureRequest) -> bool:
    """Whether the file system can exchange two names."""
    return bool(request.param)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, if there is one: thousands of commits would otherwise wait for a disk they do not test."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="imgassets-faults-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def shared(scratch: Path) -> Path:
    """A root that a group shares."""
    if os.getuid():
        pytest.skip("becoming another user takes root")
    scratch.chmod(0o711)
    root = scratch / "shared"
    root.mkdir()
    os.chown(root, 54_322, GROUP)
    root.chmod(0o775)
    return root


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the fault tests tried and found, e.g. `412 kill points: 0 bad`; as a table too, where a page wants it."""
    found = invariants.summed()
    for tally in found:
        terminalreporter.write_line(tally.line())
    if found and (page := os.environ.get("FAULT_PAGE")):
        rows = "".join(f"| {t.what} | {t.points:,} | {len(t.broken)} |\n" for t in found)
        head, mark, rest = Path(page).read_text().partition(TABLE)
        _, after, tail = rest.partition("\n\n")
        Path(page).write_text(f"{head}{mark}{rows.rstrip()}{after}{tail}")
