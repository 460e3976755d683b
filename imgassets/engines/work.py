"""What an engine is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from imgassets.errors import ImgassetsError

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """How another process comes to make the same: a function's name and what it is called with, JSON values alone."""

    maker: str
    """`module:function`; with `document` and a function that takes a line of text it returns what makes a partition,
    given its key and whether to wait for whoever is at it, and gives a JSON value."""
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Work(Generic[T]):
    """Partitions that are to be made, in order as far as one process makes them."""

    keys: Sequence[str]
    make: Callable[[str, bool], T]
    """Makes a partition in this process; waits for whoever is at it, if asked to."""
    say: Callable[[str], object]
    """Takes a line of text for the run's log."""
    order: Order | None = None
    """None where only this process can, or should."""
    read: Callable[[Any], T] = lambda value: value
    """What another process has answered, as what `make` gives."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """What became of a partition: a value, or an error of ours."""

    key: str
    value: T | None = None
    error: ImgassetsError | None = None


class Engine(Protocol):
    """Makes partitions."""

    def outcomes(self, work: Work[T]) -> Generator[Ended[T], None, None]:
        """What becomes of each partition, as they end; what somebody else is making is come back to at the end.

        Whoever stops asking closes the iterator: what is in work is then taken back. Errors that are none of ours are
        raised.
        """
