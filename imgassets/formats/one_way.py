"""A sink with the manners of a Python file, for libraries that write to one front to back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from imgassets.commit import Sink


class OneWay(io.RawIOBase):
    """Writes and tells, never seeks. Closing it does nothing to the sink, which belongs to the stage."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: Buffer) -> int:
        """Append."""
        return self._sink.write(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._sink.tell()

    def writable(self) -> bool:
        """Yes."""
        return True
