"""Any sequence of commits, with any files and any faults: the last whole version is there after each."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from imgassets.commit import Location, Recipe, Stage, Vault, Written
from imgassets.errors import BadInput, ImgassetsError, MissingUpstream
from tests.commit import victim
from tests.commit.invariants import MEMORY, Tree, at_rest, tree
from tests.commit.shim import Death, Op, Shim

Fault = Literal["none", "refused", "error", "lasting error", "kill", "interrupt"]


@dataclass(frozen=True)
class Step:
    """One attempt: which files, what goes wrong, and at which call."""

    files: Mapping[str, bytes]
    fault: Fault
    call: int
    code: int
    force: bool
    exchange: bool


names = st.sampled_from(["a", "b.bin", "sub/a", "sub/deep/c", "über", "-x"])
contents = st.builds(
    lambda fill, size: bytes([fill]) * size, st.integers(0, 3), st.sampled_from([0, 1, 10, 65536, 150_000])
)


@st.composite
def steps(draw: st.DrawFn, folder: bool) -> Step:
    files = draw(st.dictionaries(names, contents, max_size=4)) if folder else {"x.tar": draw(contents)}
    fault: Fault = draw(st.sampled_from(["none", "refused", "error", "lasting error", "kill", "interrupt"]))
    code = draw(st.sampled_from([errno.EIO, errno.ENOSPC, errno.EACCES]))
    return Step(files, fault, draw(st.integers(1, 160)), code, draw(st.booleans()), draw(st.booleans()))


def recipe(files: Mapping[str, bytes]) -> Recipe:
    """Equal files have equal recipes, so that histories hold unchanged reruns and resumed attempts too."""
    content = {name: [len(data), data[:1].hex()] for name, data in sorted(files.items())}
    return Recipe("demo/any", "one", {}, {"content": content}, "raw/1", "1")


def attempt(vault: Vault, location: Location, step: Step) -> tuple[str, bool]:
    """How it ends, and whether the fault came."""
    hit = False

    def before(op: Op) -> None:
        nonlocal hit
        if step.fault not in {"error", "lasting error", "interrupt"} or op.number < step.call:
            return
        if op.number > step.call and (step.fault != "lasting error" or op.name != shim.ops[step.call - 1].name):
            return
        hit = True
        if step.fault == "interrupt":
            raise KeyboardInterrupt
        raise OSError(step.code, "injected")

    def write(stage: Stage) -> Written:
        written = victim.write(stage, step.files)
        if step.fault == "refused":
            raise BadInput("no.npz is bad.")
        return written

    def die(op: Op) -> bool:
        return step.fault == "kill" and op.number == step.call

    shim = Shim(die, before=before, exchange=step.exchange)
    try:
        with shim:
            vault.commit(location, recipe(step.files), write, force=step.force)
    except Death:
        return "died", True
    except (ImgassetsError, KeyboardInterrupt):
        return "failed", hit or step.fault == "refused"
    return "done", hit


def expected(root: Path, folder: bool, files: Mapping[str, bytes]) -> Tree:
    """The vault after one undisturbed commit."""
    vault = Vault(root / "store", root / "state")
    location = vault.location("demo", "any", "one" if folder else "x.tar", folder=folder)
    vault.commit(location, recipe(files), lambda stage: victim.write(stage, files))
    return tree(vault.root)


def visible(vault: Vault, location: Location) -> Tree | None:
    """The artifact that readers see: proven whole, or none."""
    try:
        vault.verify(location)
    except MissingUpstream:
        return None
    return tree(location.path)


def check_history(data: st.DataObject, folder: bool) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        vault = Vault(Path(scratch) / "store", Path(scratch) / "state")
        vault.root.mkdir()
        location = vault.location("demo", "any", "one" if folder else "x.tar", folder=folder)
        tidy = True
        now: Tree | None = None
        for i, step in enumerate(data.draw(st.lists(steps(folder), min_size=1, max_size=6))):
            whole = expected(Path(scratch) / f"expected-{i}", folder, step.files)
            prefix = "demo/any/one/" if folder else "demo/any/x.tar"
            new: Tree = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
            before = tree(vault.root)
            how, hit = attempt(vault, location, step)
            note(f"{step} ended {how}, fault met: {hit}")
            seen = visible(vault, location) if location.path.exists() else None
            if how == "done":
                assert seen == new
            elif seen is None and now is not None:
                # a folder that cannot be exchanged may be set aside when the process dies; nothing else may be missing
                assert folder
                assert not step.exchange
                assert step.fault in {"kill", "lasting error"}
            else:
                assert hit
                assert seen in (now, new)
            if how == "failed" and step.fault in {"refused", "error"}:
                assert seen == now or not tidy  # a publication that a kill cut off may have been finished
                assert tree(vault.root) == before or not tidy
            tidy = (how == "done" and not hit) or (tidy and step.fault in {"refused", "error"} and how == "failed")
            now = seen if seen is not None else now
        vault.commit(location, recipe(step.files), lambda stage: victim.write(stage, step.files))
        assert at_rest(vault.root) == whole


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_any_history_of_commits(data: st.DataObject, folder: bool) -> None:
    check_history(data, folder)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(st.data(), st.booleans())
def test_very_many_histories_of_commits(data: st.DataObject, folder: bool) -> None:
    check_history(data, folder)
