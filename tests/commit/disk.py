"""A disk that forgets: which folders and bytes may be found after a power cut at any moment of a recorded attempt.

A file's bytes are durable after fsync of the file, a name after fsync of its folder; until then each may be lost, and
any sector of a file may be the new one, the old one or zeros, whichever was written first.
Changes of names are atomic (a rename that touches two folders is one change) and those of one folder keep their order,
as journaling file systems have it; changes of different folders may reach the disk in any order.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.commit.invariants import LINK
from tests.commit.shim import Op

Rule = Literal["synced", "half", "all", "torn"]
RULES: tuple[Rule, ...] = ("synced", "half", "all", "torn")
"""What is on disk of bytes that were not synced."""
SECTOR = 512
Names = dict[str, int]
State = dict[str, bytes | None]


@dataclass
class Change:
    """One atomic change of names: for each (folder, name) the node it then means, or None."""

    names: dict[tuple[int, str], int | None]

    @property
    def folders(self) -> set[int]:
        return {folder for folder, _ in self.names}


@dataclass
class Disk:
    """Follows the calls of an attempt below `root`, which exists and is durable when it begins."""

    root: Path
    _now: dict[int, Names] = field(default_factory=dict)
    _durable: dict[int, Names] = field(default_factory=dict)
    _bytes: dict[int, bytearray] = field(default_factory=dict)
    _synced: dict[int, bytes] = field(default_factory=dict)
    _pending: list[Change] = field(default_factory=list)
    _links: dict[int, str] = field(default_factory=dict)
    _fds: dict[int, int] = field(default_factory=dict)
    """Node by file descriptor."""

    def __post_init__(self) -> None:
        self._next = 0
        self._load(self.root)
        self._durable = {node: dict(names) for node, names in self._now.items()}
        self._synced = {node: bytes(data) for node, data in self._bytes.items()}

    def record(self, op: Op, result: Any) -> None:
        """An `after` observer for the shim."""
        args, dir_fd = op.args, op.kwargs.get("dir_fd")
        match op.name:
            case "open":
                self._open(args[0], args[1], dir_fd, result)
            case "close":
                self._fds.pop(args[0], None)
            case "write" if args[0] in self._fds:
                self._bytes[self._fds[args[0]]] += bytes(args[1])[:result]
            case "ftruncate" if args[0] in self._fds:
                del self._bytes[self._fds[args[0]]][args[1] :]
            case "pwrite" if args[0] in self._fds:
                data, (_, part, at) = self._bytes[self._fds[args[0]]], args
                data.extend(bytes(max(0, at - len(data))))
                data[at : at + result] = bytes(part)[:result]
            case "fsync" if args[0] in self._fds:
                self._sync(self._fds[args[0]])
            case "mkdir" if place := self._place(args[0], dir_fd):
                self._now[self._next] = {}
                self._durable[self._next] = {}
                self._change({place: self._next})
                self._next += 1
            case "unlink" | "remove" | "rmdir" if place := self._place(args[0], dir_fd):
                self._change({place: None})
            case "rename" | "replace" if place := self._place(args[0]):
                self._change({place: None, self._must(args[1]): self._node(place)})
            case "link" if place := self._place(args[0]):
                self._change({self._must(args[1]): self._node(place)})
            case "symlink" if place := self._place(args[1]):
                self._links[self._next] = os.fspath(args[0])
                self._change({place: self._next})
                self._next += 1
            case "exchange" if place := self._place(args[0]):
                other = self._must(args[1])
                self._change({place: self._node(other), other: self._node(place)})

    def states(self) -> Iterator[State]:
        """What may be found below `root` if the power goes now."""
        count = len(self._pending)
        chosen = {frozenset[int](), frozenset(range(count))}
        for i in range(count):
            chosen.add(self._needed(i))
            chosen.add(frozenset(range(count)) - self._needing(i))
        for picked in chosen:
            names = {node: dict(entries) for node, entries in self._durable.items()}
            for i in sorted(picked):
                _apply(self._pending[i], names)
            for rule in RULES:
                yield self._tree(names, rule)

    def now(self) -> State:
        """What is there while the power is on."""
        return self._tree(self._now, "all")

    def _load(self, path: Path) -> int:
        node, self._next = self._next, self._next + 1
        if path.is_symlink():
            self._links[node] = os.readlink(path)
        elif path.is_dir():
            self._now[node] = {child.name: self._load(child) for child in sorted(path.iterdir())}
        else:
            self._bytes[node] = bytearray(path.read_bytes())
        return node

    def _open(self, path: Any, flags: int, dir_fd: int | None, fd: int) -> None:
        place = self._place(path, dir_fd)
        if place is None:
            if Path(path) == self.root:
                self._fds[fd] = 0
            return
        if place[1] not in self._now[place[0]]:
            assert flags & os.O_CREAT
            self._bytes[self._next], self._synced[self._next] = bytearray(), b""
            self._change({place: self._next})
            self._next += 1
        self._fds[fd] = self._node(place)

    def _place(self, path: Any, dir_fd: int | None = None) -> tuple[int, str] | None:
        """Folder and name of a path; None if it does not lie below the root."""
        if dir_fd is not None:
            return (self._fds[dir_fd], os.fspath(path)) if dir_fd in self._fds else None
        if self.root not in Path(path).parents:
            return None
        *folders, name = Path(path).relative_to(self.root).parts
        node = 0
        for folder in folders:
            names = self._now[node]
            node = names[self._links.get(names[folder], folder)]
        return node, name

    def _must(self, path: Any) -> tuple[int, str]:
        place = self._place(path)
        assert place, f"{path} is not below {self.root}"
        return place

    def _node(self, place: tuple[int, str]) -> int:
        return self._now[place[0]][place[1]]

    def _change(self, names: dict[tuple[int, str], int | None]) -> None:
        change = Change(names)
        self._pending.append(change)
        _apply(change, self._now)

    def _sync(self, node: int) -> None:
        if node in self._bytes:
            self._synced[node] = bytes(self._bytes[node])
            return
        due: set[int] = set()
        for i, change in enumerate(self._pending):
            if node in change.folders:
                due |= self._needed(i)
        for i in sorted(due):
            _apply(self._pending[i], self._durable)
        self._pending = [change for i, change in enumerate(self._pending) if i not in due]

    def _needed(self, last: int) -> frozenset[int]:
        """The pending changes that are on disk if change `last` is."""
        due, folders = {last}, set(self._pending[last].folders)
        for i in range(last - 1, -1, -1):
            if self._pending[i].folders & folders:
                due.add(i)
                folders |= self._pending[i].folders
        return frozenset(due)

    def _needing(self, first: int) -> frozenset[int]:
        """The pending changes that cannot be on disk if change `first` is not."""
        return frozenset(i for i in range(first, len(self._pending)) if first in self._needed(i))

    def _tree(self, names: dict[int, Names], rule: Rule) -> State:
        state: State = {}
        stack = [(0, "")]
        while stack:
            node, prefix = stack.pop()
            for name, child in names[node].items():
                state[prefix + name] = None if child in names else self._content(child, rule)
                if child in names:
                    stack.append((child, f"{prefix}{name}/"))
        return state

    def _content(self, node: int, rule: Rule) -> bytes:
        if node in self._links:  # made with its target, in one change
            return LINK + self._links[node].encode()
        new, old = bytes(self._bytes[node]), self._synced[node]
        half = (len(new) + len(old)) // 2
        return {"synced": old, "half": new[:half], "all": new, "torn": _torn(new, old)}[rule]


def _torn(new: bytes, old: bytes) -> bytes:
    """Sectors that reached the disk in any order."""
    if new == old:
        return new
    dice = random.Random(len(new))
    versions = (new, old.ljust(len(new), b"\0"), bytes(len(new)))
    return b"".join(dice.choice(versions)[at : at + SECTOR] for at in range(0, len(new), SECTOR))


def _apply(change: Change, names: dict[int, Names]) -> None:
    for (folder, name), node in change.names.items():
        if node is None:
            names[folder].pop(name, None)
        else:
            names[folder][name] = node


def lay_out(state: State, root: Path) -> None:
    """Make a state real."""
    root.mkdir(parents=True)
    for name in sorted(state):
        data = state[name]
        if data is None:
            (root / name).mkdir()
        elif data.startswith(LINK):
            (root / name).symlink_to(data.removeprefix(LINK).decode())
        else:
            (root / name).write_bytes(data)
