"""What every engine has to do, and what only processes do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imgassets.engines import Engine, InProcess, chosen, processes
from imgassets.engines.processes import Processes
from imgassets.errors import BadInput, StoreError
from imgassets.granted import granted_cpus
from tests.engines.making import work

KEYS = tuple(f"part-{number}" for number in range(6))


class EngineContract:
    """An engine gives it `engine`."""

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError

    def test_every_partition_ends_once(self, engine: Engine, tmp_path: Path) -> None:
        ended = list(engine.outcomes(work(tmp_path, *KEYS)))
        assert sorted(one.key for one in ended) == list(KEYS)
        assert all(one.value and one.value["key"] == one.key and one.error is None for one in ended)
        assert all((tmp_path / key).read_text() == key for key in KEYS)

    def test_an_error_of_ours_is_a_value(self, engine: Engine, tmp_path: Path) -> None:
        ended = {one.key: one for one in engine.outcomes(work(tmp_path, "a", "bad", "b"))}
        assert isinstance(ended["bad"].error, BadInput)
        assert str(ended["bad"].error) == "bad is bad"
        assert ended["a"].value
        assert ended["b"].value

    def test_what_is_taken_is_come_back_to(self, engine: Engine, tmp_path: Path) -> None:
        ended = list(engine.outcomes(work(tmp_path, "taken", "a", "b")))
        assert sorted(one.key for one in ended) == ["a", "b", "taken"]
        assert not any(one.error for one in ended)

    def test_other_errors_are_raised(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="broken is broken"):
            list(engine.outcomes(work(tmp_path, "a", "broken", "b")))

    def test_what_is_said_is_heard(self, engine: Engine, tmp_path: Path) -> None:
        said: list[str] = []
        list(engine.outcomes(work(tmp_path, "a", "b", said=said)))
        assert sorted(said) == ["making a", "making b"]

    def test_whoever_stops_asking_is_done(self, engine: Engine, tmp_path: Path) -> None:
        with closing(engine.outcomes(work(tmp_path, *KEYS, *(f"late-{number}" for number in range(50))))) as outcomes:
            next(outcomes)
        begun = len(list(tmp_path.glob("*.begun")))
        assert begun <= 4
        assert len(list(engine.outcomes(work(tmp_path, *KEYS)))) == len(KEYS)


class TestInProcess(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return InProcess()

    def test_in_order(self, engine: Engine, tmp_path: Path) -> None:
        ended = engine.outcomes(work(tmp_path, "taken", *KEYS))
        assert [one.key for one in ended] == [*KEYS, "taken"]


class TestProcesses(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        yield Processes(2)
        processes.close()

    def test_two_others_make_them(self, engine: Engine, tmp_path: Path) -> None:
        pids = {one.value["pid"] for one in engine.outcomes(work(tmp_path, *KEYS)) if one.value}
        again = {one.value["pid"] for one in engine.outcomes(work(tmp_path, *KEYS)) if one.value}
        assert os.getpid() not in pids
        assert 1 <= len(pids) <= 2
        assert again <= pids

    def test_one_alone_is_made_here(self, engine: Engine, tmp_path: Path) -> None:
        (ended,) = engine.outcomes(work(tmp_path, "a"))
        assert ended.value
        assert ended.value["pid"] == os.getpid()

    def test_a_share_is_granted(self, engine: Engine, tmp_path: Path) -> None:
        cpus = {one.value["cpus"] for one in engine.outcomes(work(tmp_path, *KEYS)) if one.value}
        assert cpus == {max(1, granted_cpus() // 2)}

    def test_a_process_that_dies_fails_its_partition_alone(self, engine: Engine, tmp_path: Path) -> None:
        ended = {one.key: one for one in engine.outcomes(work(tmp_path, "a", "dies", "b", "c"))}
        assert isinstance(ended["dies"].error, StoreError)
        assert "exit code 7" in str(ended["dies"].error)
        assert all(ended[key].value for key in "abc")

    def test_closing_takes_back_what_is_in_work(self, engine: Engine, tmp_path: Path) -> None:
        with closing(engine.outcomes(work(tmp_path, "a", "long-1", "b"))) as outcomes:
            assert {next(outcomes).key, next(outcomes).key} == {"a", "b"}
            pid = _read(tmp_path / "long-1.pid")
        assert (tmp_path / "long-1.back").exists()
        assert not _lives(pid)


DRIVER = """
import sys
from pathlib import Path
from imgassets import interrupts
from imgassets.engines.processes import Processes
from tests.engines.making import work
with interrupts.watched():
    list(Processes(2).outcomes(work(Path(sys.argv[1]), "long-1", "long-2", "never")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_whoever_started_them_reaches_all(tmp_path: Path, number: signal.Signals) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], start_new_session=True)
    pids = [_read(tmp_path / f"long-{which}.pid") for which in (1, 2)]
    driver.send_signal(number)
    driver.wait(10)
    _until(lambda: not any(map(_lives, pids)), 5.0)
    assert all((tmp_path / f"long-{which}.back").exists() for which in (1, 2))
    assert not (tmp_path / "never.begun").exists()


def _read(file: Path) -> int:
    _until(file.exists, 60.0)
    return int(file.read_text())


def _until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("text", ["", "ray", "processes:", "processes:0", "processes:-1", "processes:²", "local:2"])
def test_what_names_no_engine(text: str) -> None:
    with pytest.raises(BadInput, match=r"expected local, processes or processes:4"):
        chosen(text)


def test_runs_at_a_time_divide_the_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMGASSETS_GRANTED_CPUS", "4")
    ended = list(chosen("processes", 4).outcomes(work(tmp_path, "a", "b")))
    assert {one.value["pid"] for one in ended if one.value} == {os.getpid()}
