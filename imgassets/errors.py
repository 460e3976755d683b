"""The errors people see: one sentence that says what is wrong, where, what was expected and what to do next."""

from __future__ import annotations

LIMIT = 500
"""Longest message, in characters: what fits in one line of the run page without being folded away."""


def one_line(text: str) -> str:
    """`text` as one line of at most `LIMIT` characters, without its middle if need be: the end says what to do.

    A worker process of torch ends in its traceback, with our own words last.
    """
    line = " ".join(text.split())
    return line if len(line) <= LIMIT else line[: LIMIT // 2 - 1] + "…" + line[-LIMIT // 2 :]


class ImgassetsError(Exception):
    """Base of every error this package raises on purpose; its text is one line of at most `LIMIT` characters."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class BadInput(ImgassetsError):
    """A source file or a setting is not what its format promises; nothing was published from it."""


class Misunderstood(BadInput):
    """What somebody asked a command for means nothing: a name that does not exist, a range that is none."""


class MissingUpstream(ImgassetsError):
    """An artifact that another one is made from does not exist yet."""


class Unforeseen(MissingUpstream):
    """What a plan cannot tell before something upstream has been made; the run itself can be told."""


class StoreError(ImgassetsError):
    """The vault, or a store, cannot take or give data: full, unwritable, damaged, or being written by somebody else."""


class Taken(StoreError):
    """Somebody else is writing this artifact; to wait and try again helps."""

    def __init__(self, message: str, process: int | None = None, host: str | None = None, since: str | None = None):
        super().__init__(message)
        self.process, self.host, self.since = process, host, since
        """Who: the process' id, its host, and the time (ISO 8601, UTC) it began; all None if nobody says."""
