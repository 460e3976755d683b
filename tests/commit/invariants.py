"""What must hold after a fault, judged by reading the vault's bytes, not by asking the code under test alone."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imgassets.errors import LIMIT, ImgassetsError, MissingUpstream
from tests.commit import victim
from tests.commit.shim import Death, Op, Shim
from tests.commit.victim import Kind

Start = Literal["first", "republish", "linked", "resume"]
KINDS: tuple[Kind, ...] = ("folder", "file")
STARTS: tuple[Start, ...] = ("first", "republish", "linked", "resume")
"""A folder is `linked` that was first published where names cannot be exchanged."""
SEED = int(os.environ.get("FAULT_SEED", zlib.crc32(os.urandom(8)) % 10_000))
"""Of every sample in this session."""
ALL = bool(os.environ.get("FAULT_ALL"))
"""Whether everything is tried, not a sample."""
MEMORY = Path("/dev/shm")  # noqa: S108
VERSION = 2
"""What every attempt commits; version 1 is what may lie there before."""

OWNER = ".imgassets/owners/demo.json"
"""The record that says whose the dataset is."""

Tree = dict[str, bytes | None]


class Broken(AssertionError):
    """An invariant does not hold; `args[0]` is its name."""


LINK = b"-> "
"""What the bytes of a link begin with in a tree of names."""


def names(root: Path) -> Tree:
    """Every file below `root` with its bytes, every folder, and every link."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        data = LINK + os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = data
    return found


def tree(root: Path) -> Tree:
    """Every file below `root` with its bytes, and every folder, as readers see them."""
    return {"": root.read_bytes()} if root.is_file() else followed(names(root))


def followed(found: Tree) -> Tree:
    """What a link names lies where the link does."""
    seen = dict(found)
    for name, data in found.items():
        target = str(Path(name).with_name((data or b"").removeprefix(LINK).decode())) if _is_link(data) else ""
        for under in [under for under in found if target and (under == target or under.startswith(f"{target}/"))]:
            del seen[under]
            seen[name + under.removeprefix(target)] = found[under]
    return seen


def _is_link(data: bytes | None) -> bool:
    return data is not None and data.startswith(LINK)


def unlocked(found: Tree) -> Tree:
    """A vault's tree without what is there for locks."""
    rest = {name: data for name, data in found.items() if not name.startswith(".imgassets/locks")}
    if not any(name.startswith(".imgassets/") for name in rest):
        rest.pop(".imgassets", None)
    return rest


def at_rest(root: Path) -> Tree:
    """The tree of a vault: the folder of its locks may stay, but nothing in it."""
    found = tree(root)
    return found if any(name.startswith(".imgassets/locks/") for name in found) else unlocked(found)


@dataclass
class Case:
    """One kind of artifact in one state before the attempt: made once, copied for every fault."""

    kind: Kind
    start: Start
    scratch: Path
    template: Path = field(init=False)
    old: Tree | None = field(init=False)
    """The artifact before the attempt."""
    new: Tree = field(init=False)
    """The artifact after an undisturbed one."""
    before: Tree = field(init=False)
    """The whole vault before the attempt, without what a killed attempt left."""
    after: Tree = field(init=False)
    """The whole vault after an undisturbed attempt."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self.template = self.scratch / "template"
        (self.template / "store").mkdir(parents=True)
        if self.start != "first":
            with Shim(exchange=self.start != "linked"):
                victim.commit(self.template, self.kind, 1)
        self.before = tree(self.template / "store")
        self.old = self._artifact(self.template)
        undisturbed = self.scratch / "undisturbed"
        shutil.copytree(self.template, undisturbed, symlinks=True)
        assert victim.commit(undisturbed, self.kind, VERSION)
        new = self._artifact(undisturbed)
        assert new
        self.new, self.after = new, tree(undisturbed / "store")
        if self.start == "resume":  # some files are finished, in a folder another one is begun
            dying = Shim(lambda op: op.name in {"write", "scandir"} and self._finished() == len(self.new) // 2)
            with suppress(Death), dying:
                victim.commit(self.template, self.kind, VERSION)
            assert self._finished() == len(self.new) // 2

    def fresh(self) -> Path:
        """A copy of the state before the attempt."""
        root = self.scratch / f"run-{next(self._numbers)}"
        shutil.copytree(self.template, root, symlinks=True)
        return root

    def done(self, root: Path) -> None:
        """Remove a copy."""
        shutil.rmtree(root)

    def look(self, root: Path, *, exchange: bool = True) -> str:
        """Which version is visible: `old`, `new` or `none`.

        Where names cannot be exchanged, a folder that is no link yet may be set aside when the process dies; it is
        `aside` then, and must be whole there.

        Raises:
            Broken: a mixed or torn one is, or one that its manifest does not describe, or the old one is lost.
        """
        found = self._artifact(root)
        self._whose(root, is_new=found == self.new)
        if found is None:
            path = victim.location_in(victim.vault_at(root), self.kind).path
            aside = tree(path.with_name(f".{path.name}.old"))
            once = self.kind == "folder" and self.start in {"republish", "resume"} and not exchange
            if once and aside in (self.old, self.new):
                return "aside"
            if self.old is not None:
                raise Broken("lost", "the old version is not there")
            seen = "none"
        elif found == self.old:
            seen = "old"
        elif found == self.new:
            seen = "new"
        else:
            raise Broken("torn", f"neither version: { ({k: v and len(v) for k, v in found.items()}) }")
        vault = victim.vault_at(root)
        try:
            manifest = vault.verify(victim.location_in(vault, self.kind))
        except MissingUpstream:
            # a file that is first published may be seen before its manifest: whole, but not there yet for readers
            if seen == "none" or (self.kind == "file" and self.old is None):
                return "none"
            raise Broken("torn", f"the {seen} version is there, its manifest is not") from None
        except ImgassetsError as error:
            raise Broken("torn", str(error)) from None
        if manifest.recipe.config["version"] != {"old": 1, "new": VERSION}.get(seen):
            raise Broken("torn", f"the manifest describes another version than the {seen} one that is there")
        return seen

    def settle(self, root: Path) -> None:
        """A rerun makes the very bytes of an undisturbed run and leaves nothing else behind."""
        try:
            victim.commit(root, self.kind, VERSION)
        except ImgassetsError as error:
            raise Broken("differing", f"the rerun failed: {error}") from error
        self.settled(root)

    def settled(self, root: Path) -> None:
        """The vault is that of an undisturbed run."""
        found = at_rest(root / "store")
        if found != self.after:
            odd = sorted(k for k in found.keys() | self.after.keys() if found.get(k, b"-") != self.after.get(k, b"-"))
            raise Broken("differing", f"after the rerun these differ: {odd}")
        vault = victim.vault_at(root)
        if vault.verify(victim.location_in(vault, self.kind)).recipe.config["version"] != VERSION:
            raise Broken("differing", "the manifest is another one")

    def untouched(self, root: Path) -> None:
        """Nothing new remains, and what was there is; what an earlier kill left may be there still, as it was.

        Whose the dataset is, is recorded just before it is published: the record, or its folder, may be new.
        """
        found, left = tree(root / "store"), tree(self.template / "store")
        folder: Tree = dict.fromkeys((".imgassets", ".imgassets/owners"))
        new = [{}, folder, {**folder, OWNER: self.after[OWNER]}]
        if found not in [was | more for was in (self.before, left, unlocked(left)) for more in new]:
            odd = sorted(k for k in found.keys() | self.before.keys() if found.get(k, b"-") != self.before.get(k, b"-"))
            raise Broken("remains", f"after the error these differ: {odd}")

    def told(self, root: Path, message: str, code: int) -> None:
        """The error is one line that names the artifact, and a full disk is called that."""
        path = str(victim.location_in(victim.vault_at(root), self.kind).path)
        if "\n" in message or len(message) > LIMIT or path not in message:
            raise Broken("message", message)
        full = "disk is full" in message or "could not be undone" in message
        if (code in {errno.ENOSPC, errno.EDQUOT}) > full:
            raise Broken("message", message)

    def _whose(self, root: Path, *, is_new: bool) -> None:
        record = root / "store" / OWNER
        if is_new and not record.exists():
            raise Broken("lost", "the new version is there, but not whose it is")
        if record.exists() and record.read_bytes() != self.after[OWNER]:
            raise Broken("torn", f"the record of the owner is {record.read_bytes()!r}")

    def _artifact(self, root: Path) -> Tree | None:
        path = victim.location_in(victim.vault_at(root), self.kind).path
        return tree(path) if path.exists() else None

    def _finished(self) -> int:
        journal = victim.location_in(victim.vault_at(self.template), self.kind).stage / "journal"
        return journal.read_bytes().count(b"\n") if journal.exists() else 0


def calls(case: Case, *, exchange: bool = True) -> list[Op]:
    """Every call of an undisturbed attempt."""
    root = case.fresh()
    with Shim(exchange=exchange) as shim:
        victim.commit(root, case.kind, VERSION)
    case.settled(root)
    return shim.ops


def name(case: Case, exchange: bool) -> str:
    return f"{case.kind} {case.start} {'exchange' if exchange else 'no-exchange'}"


tallies: list[Tally] = []
"""Of this session, summed up at its end."""


@dataclass
class Tally:
    """Counts of what was tried and of what broke, for a line of a table and one line per failure."""

    what: str
    points: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)

    def check(self, repro: str, judge: Callable[[], object]) -> None:
        """Judge one point; what breaks is kept with the way to see it again. It is none if `judge` returns False."""
        try:
            tried = judge() is not False  # apart: `+=` on a call would lose what other threads count meanwhile
            self.points += tried
        except Broken as error:
            self.points += 1
            self.broken.append((error.args[0], f"{repro}: {error.args[0]}: {error.args[1]}"))

    def line(self) -> str:
        """E.g. `412 kill points: 0 bad`, or `…: 2 bad (torn, lost)`."""
        kinds = ", ".join(sorted({kind for kind, _ in self.broken}))
        return f"{self.points} {self.what}: {len(self.broken)} bad" + (f" ({kinds})" if kinds else "")

    def finish(self, at_least: int) -> None:
        """Print the counts; fail if anything broke, or if suspiciously little was tried."""
        print(self.line())
        tallies.append(self)
        assert not self.broken, "\n".join([self.line(), *(text for _, text in self.broken[:20])])
        assert self.points >= at_least, f"only {self.points} {self.what}: the faults did not reach the code"


def summed() -> list[Tally]:
    """One tally for each kind of fault."""
    return [
        Tally(what, sum(t.points for t in of), [b for t in of for b in t.broken])
        for what in sorted({tally.what for tally in tallies})
        if (of := [tally for tally in tallies if tally.what == what])
    ]
