"""Doing the next while the last is still being used."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
POLL = 0.1
"""Seconds between two looks whether the other side has given up."""


def ahead(items: Iterable[T], depth: int = 2) -> Generator[T]:
    """Yield `items`, produced up to `depth` ahead by a thread of their own, in order.

    An error of the producer is raised here, after what came before it; closing this iterator stops the producer and
    closes `items`.
    """
    queue: Queue[tuple[T] | BaseException | None] = Queue(depth)
    stop = Event()

    def put(item: tuple[T] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                queue.put(item, timeout=POLL)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            with _closing(items):
                for item in items:
                    if not put((item,)):
                        return
        except BaseException as error:  # it belongs to whoever iterates
            put(error)
        else:
            put(None)

    thread = Thread(target=produce, name="imgassets-ahead", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stop.set()
        thread.join()


@contextmanager
def _closing(items: Iterable[T]) -> Iterator[None]:
    try:
        yield
    finally:
        if isinstance(items, Generator):
            items.close()
