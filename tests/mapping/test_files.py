"""Mapped files: given back, and never other bytes than those they were opened with."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.errors import StoreError
from imgassets.mapping import Mapped, faults
from imgassets.mapping.files import starts_of

PAGE = os.sysconf("SC_PAGESIZE")


def mappings() -> int:
    """Ranges of memory that this process has."""
    return len(Path("/proc/self/maps").read_text().splitlines())


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Up to three pages, mostly zeros, which a cut file looks like."""
    data = bytearray(draw(st.integers(0, 3 * PAGE)))
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=4)) if data else []:
        data[place] = draw(st.integers(1, 255))
    return bytes(data)


@given(files=st.lists(contents(), min_size=1, max_size=3), data=st.data())
def test_a_cut_is_an_error_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, files: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    for k, content in enumerate(files):
        (folder / str(k)).write_bytes(content)
    mapped = Mapped([folder / str(k) for k in range(len(files))], [len(content) for content in files])
    cut = data.draw(st.integers(0, len(files) - 1))
    os.truncate(folder / str(cut), data.draw(st.integers(0, len(files[cut]))))
    starts = starts_of([len(content) for content in files]).tolist()
    error = None
    for _ in range(2):
        try:
            with mapped.watched():
                found = [mapped.bytes[at : at + len(held)].tobytes() for at, held in zip(starts, files, strict=True)]
        except StoreError as told:
            error = told
        else:
            assert error is None, "once an error, always one"
    assert found == files if error is None else str(folder / str(cut)) in str(error)


def test_a_file_that_is_whole_again_has_been_cut(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3 * PAGE)
    mapped = Mapped([path], [3 * PAGE])
    os.truncate(path, PAGE)
    told = f"it had {3 * PAGE} bytes and has {PAGE} bytes now"
    with pytest.raises(StoreError, match=told), mapped.watched():
        mapped.bytes.tobytes()
    path.write_bytes(b"x" * 3 * PAGE)
    with pytest.raises(StoreError, match="open it anew"), mapped.watched():
        mapped.bytes.tobytes()


def test_what_is_cut_while_it_is_copied_is_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 8 * PAGE)
    mapped = Mapped([path], [8 * PAGE])
    with pytest.raises(StoreError, match=str(path)):
        cut_within(mapped, path)


def cut_within(mapped: Mapped, path: Path) -> None:
    """Truncate while the bytes are looked at."""
    with mapped.watched():
        os.truncate(path, 1)
        assert not mapped.bytes[1:].any()  # zeros, which nobody gets to see


def test_the_reason_names_the_file_rather_than_what_the_zeros_led_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * PAGE)
    mapped = Mapped([path], [PAGE])
    with pytest.raises(StoreError, match="was cut") as caught:
        misled(mapped, path)
    assert isinstance(caught.value.__cause__, ValueError)


def misled(mapped: Mapped, path: Path) -> None:
    """What becomes of code that meets the zeros."""
    with mapped.watched():
        os.truncate(path, 0)
        raise ValueError("no image")


def test_mappings_go_with_the_last_array(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * PAGE)
    before = mappings()
    kept = [Mapped([path], [PAGE]).bytes[:3] for _ in range(50)]
    assert mappings() > before + 40  # neighbours may become one
    assert all(array.tobytes() == b"xxx" for array in kept)
    gc.disable()
    kept.clear()
    gc.enable()
    assert mappings() < before + 10


def test_mappings_go_with_an_error_that_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * PAGE)
    before, kept = mappings(), []
    for _ in range(50):
        with pytest.raises(StoreError, match="the store says") as caught:
            Mapped([tmp_path / "a"] * 2, [PAGE, PAGE + 1])
        kept.append(caught)
    assert mappings() < before + 10


def test_other_faults_go_to_whoever_handled_them_before() -> None:
    program = """
import ctypes, faulthandler, mmap, os, sys, tempfile
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from imgassets.mapping import Mapped
if sys.argv[2] == "faulthandler":
    faulthandler.enable()
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x" * mmap.PAGESIZE); file.flush()
    mapped = Mapped([Path(file.name)], [mmap.PAGESIZE])
    with mapped.watched():
        pass
    if sys.argv[3] == "kill":
        os.kill(os.getpid(), 7)
    os.truncate(file.name, 0)
    mapped.bytes[0]  # not watched
"""
    root = str(Path(__file__).parents[2])
    for handler in ("none", "faulthandler"):
        for how in ("read", "kill"):
            done = subprocess.run([sys.executable, "-c", program, root, handler, how], capture_output=True, text=True)
            assert done.returncode == -signal.SIGBUS, done.stderr
            assert ("Fatal Python error: Bus error" in done.stderr) is (handler == "faulthandler")


def test_as_many_copies_at_a_time_as_there_are_slots(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    mapped = Mapped([path], [1])
    slots = [faults.watch(mapped._entry) for _ in range(faults.SLOTS)]
    assert len(set(slots)) == faults.SLOTS
    for slot in slots:
        faults.leave(slot)
    assert not faults._watched[:, 1].any()
