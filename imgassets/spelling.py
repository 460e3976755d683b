"""What somebody may have meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable

ENOUGH = 0.55
"""Likeness, from 0 to 1, from which a name is worth asking about."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `word`, or whose last part is; None where none is like it."""
    from difflib import SequenceMatcher  # a short command that makes no mistake does without

    def likeness(name: str) -> float:
        pairs = ((word, name), *(((word, name.rpartition("/")[2]),) if "/" not in word else ()))
        return max(SequenceMatcher(None, one.lower(), other.lower()).ratio() for one, other in pairs)

    found = max(((likeness(name), name) for name in known), key=lambda pair: pair[0], default=(0.0, ""))
    return found[1] if found[0] >= ENOUGH else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, to be put behind a sentence; empty where nothing is like it."""
    name = nearest(word, known)
    return f" Did you mean {name}?" if name else ""
