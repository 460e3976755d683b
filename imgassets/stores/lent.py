"""Memory of batches, which is lent again once nothing refers to a batch any more."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Lent:
    """Memory for batches of `rows` rows or fewer; of more, where a row gives several images."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._free: dict[tuple[int, int], deque[NDArray[np.uint8]]] = {}

    def __call__(self, rows: int, nbytes: int) -> torch.Tensor:
        """uint8 (rows, nbytes), whose memory comes back once the last tensor on it is gone."""
        import torch

        most = max(rows, self._rows)
        free = self._free.setdefault((most, nbytes), deque())
        try:
            whole = free.pop()
        except IndexError:
            whole = torch.empty((most, nbytes), dtype=torch.uint8).numpy()  # begins at a line
        lent = whole[:rows]  # a new array: torch holds it, and nothing else does
        weakref.finalize(lent, free.append, whole).atexit = False
        return torch.from_numpy(lent)
