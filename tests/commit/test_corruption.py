"""A byte that changes in an artifact of any kind, or in its manifest: reading everything again finds it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from imgassets.errors import MissingUpstream, StoreError
from tests.commit.invariants import ALL, SEED, Broken, Tally
from tests.commit.kinds import Kinds

HOLE = 512
"""Bytes of a sector."""


def flip(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) * 8)
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


def hole(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data)) // HOLE * HOLE
    return data[:at] + bytes(len(data[at : at + HOLE])) + data[at + HOLE :]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def grown(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.randint(1, HOLE))


def swapped(data: bytes, dice: random.Random) -> bytes:
    size = dice.randint(1, min(HOLE, len(data)))
    a, b = sorted(dice.randrange(len(data)) // size * size for _ in range(2))
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :] if a < b else data


def repeated(data: bytes, dice: random.Random) -> bytes:
    size = dice.randint(1, min(HOLE, len(data)))
    a, b = (dice.randrange(len(data)) // size * size for _ in range(2))
    return data[:b] + data[a : a + size] + data[b + size :]


def other(data: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(len(data))


def gone(data: bytes, dice: random.Random) -> None:
    return None


WAYS: list[Callable[[bytes, random.Random], bytes | None]] = [flip, hole, cut, grown, swapped, repeated, other, gone]


def corrupt(kinds: Kinds, root: Path, kind: str, path: Path, way: Callable[..., bytes | None], seed: int) -> bool:
    """Damage a file, verify, and put it back; whether anything was another byte then.

    Raises:
        Broken: it went unseen, or the error was none of the project's own.
    """
    data = path.read_bytes()
    damaged = way(data, random.Random(seed)) if data else b"x"
    if damaged == data:
        return False
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    try:
        kinds.verify(root, kind)
    except (StoreError, MissingUpstream):
        return True
    except Exception as error:
        raise Broken("foreign", f"{type(error).__name__}: {error}") from error
    else:
        raise Broken("missed", "verify saw nothing")
    finally:
        path.write_bytes(data)


def try_corruptions(scratch: Path, each: int) -> None:
    print(f"FAULT_SEED={SEED}")
    kinds = Kinds(scratch / "inputs")
    for kind in kinds.names:
        root, tally, dice = scratch / kind, Tally(f"corruptions of {kind}"), random.Random(f"{SEED} {kind}")
        kinds.make(root, kind, 1)
        kinds.verify(root, kind)
        files = kinds.files(root, kind)
        while tally.points < each:
            path, way, seed = dice.choice(files), dice.choice(WAYS), dice.getrandbits(32)
            told = f"{kind}: {path.name}, {way.__name__}, {seed}"
            tally.check(told, lambda k=kind, r=root, p=path, w=way, s=seed: corrupt(kinds, r, k, p, w, s))  # type: ignore[misc]
        kinds.verify(root, kind)
        tally.finish(each)


def test_some_corruptions(scratch: Path) -> None:
    try_corruptions(scratch, 40)


@pytest.mark.slow
def test_many_corruptions(scratch: Path) -> None:
    try_corruptions(scratch, 10_000 if ALL else 1000)
