"""One partition after the other, in this process."""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain
from typing import TypeVar

from imgassets.engines.work import Ended, Work
from imgassets.errors import ImgassetsError, Taken

T = TypeVar("T")


class InProcess:
    """What Dagster itself would do."""

    def outcomes(self, work: Work[T]) -> Generator[Ended[T], None, None]:
        """As `Engine` says; in order but for what somebody else is making."""
        taken: list[str] = []
        for key in chain(work.keys, taken):
            try:
                ended = Ended(key, work.make(key, key in taken))
            except ImgassetsError as error:
                if isinstance(error, Taken) and key not in taken:
                    taken.append(key)
                    continue
                ended = Ended(key, error=error)
            yield ended
