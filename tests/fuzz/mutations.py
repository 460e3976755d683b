"""Changes of a file's bytes, of those kinds that find holes in readers; which one is up to the generator alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

NUMBERS = (0, 1, -1, 127, 128, 255, 256, 1 << 15, 1 << 16, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 62, 1 << 63, 10**30)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 1 << 31, 1 << 62, 10**30, 1.5, 1e308, float("nan"), float("-inf")),
    *("", "a", "../../x", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, "uint8", "O", "1", "image", "label"),
    *([], {}, [[]], [None], {"a": 1}, [1, 2, 3], [-1], [1 << 40, 1 << 40], ["a", "b"], [[1, 2], [3, 4]]),
)
TEXTS = (b"nan", b"-1", b"99999999999999999999", b"", b"0", b"1e309", b'"', b"'", b",", b"\n", b"\0", b"\xff", b"{{")

Change = Callable[[bytes, random.Random], bytes]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Other bytes than `data`; mostly one change, sometimes several."""
    changes: list[Change] = list(CHANGES)
    if data[:1] in (b"{", b"["):
        changes += [_json] * len(changes)
    changed = data
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        changed = rng.choice(changes)(changed, rng)
    return changed


def _place(data: bytes, rng: random.Random) -> int:
    """Often near an end: there is what says how the rest is to be read."""
    near = min(len(data), 512)
    return rng.choice((rng.randrange(len(data) + 1), rng.randrange(near + 1), len(data) - rng.randrange(near + 1)))


def _replaced(data: bytes, at: int, new: bytes, length: int | None = None) -> bytes:
    return data[:at] + new + data[at + (len(new) if length is None else length) :]


def _bit(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return _replaced(data, at, bytes([data[at] ^ 1 << rng.randrange(8)])) if at < len(data) else data


def _byte(data: bytes, rng: random.Random) -> bytes:
    return _replaced(data, _place(data, rng), bytes([rng.randrange(256)]))


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _tail(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((rng.randbytes(rng.randrange(1, 600)), bytes(rng.randrange(1, 600)), data[-512:]))


def _removed(data: bytes, rng: random.Random) -> bytes:
    return _replaced(data, _place(data, rng), b"", rng.choice((1, 4, 8, 512)))


def _zeros(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return _replaced(data, at, bytes(min(rng.choice((4, 8, 64, 512)), len(data) - at)))


def _moved(data: bytes, rng: random.Random) -> bytes:
    source, target, size = _place(data, rng), _place(data, rng), rng.choice((1, 4, 8, 64, 512))
    return _replaced(data, target, data[source : source + size], rng.choice((0, size)))


def _number(data: bytes, rng: random.Random) -> bytes:
    """An integer, in either order of bytes."""
    size, value = rng.choice((2, 4, 8)), rng.choice(NUMBERS)
    return _replaced(data, _place(data, rng), (value % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big"))))


def _digits(data: bytes, rng: random.Random) -> bytes:
    """A number written in digits."""
    found = list(re.finditer(rb"\d+", data[:4096])) + list(re.finditer(rb"\d+", data[-4096:]))
    if not found:
        return data
    match = rng.choice(found)
    return _replaced(data, match.start(), str(rng.choice(NUMBERS)).encode(), len(match[0]))


def _text(data: bytes, rng: random.Random) -> bytes:
    return _replaced(data, _place(data, rng), rng.choice(TEXTS), rng.choice((0, 1, 4)))


CHANGES: tuple[Change, ...] = (_bit, _byte, _cut, _tail, _removed, _zeros, _moved, _number, _digits, _text)


def _json(data: bytes, rng: random.Random) -> bytes:
    """Another value, or none, somewhere in a document: what checksums and bytes do not tell."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    if not places:
        return json.dumps(rng.choice(VALUES)).encode()
    node, key = rng.choice(places)
    if rng.random() < 0.25:
        del node[key]
    else:
        node[key] = rng.choice((*VALUES, *(other[k] for other, k in rng.choices(places, k=4))))
    try:
        return json.dumps(document).encode()
    except (ValueError, RecursionError):  # a document within itself
        return b"[" * 5000
