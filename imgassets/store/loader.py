"""Epochs over a store: exact shuffles, exact shares, batches fetched ahead by threads, and a state to go on from."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput
from imgassets.threads import ordered

if TYPE_CHECKING:
    import torch

Index = NDArray[np.int64]
BLOCK_ROWS = 1024
WINDOW_BLOCKS = 16
"""Blocks whose rows are mixed with each other by `shuffle="block"`."""
TOGETHER, TOGETHER_BYTES = 4, 12 << 20
"""Batches, small ones, that a thread fetches at once, and their bytes: to wake it costs as much as to copy 1 MB."""


class Fetches(Protocol):
    """What a loader needs of a store."""

    @property
    def image_bytes(self) -> int | None:
        """Bytes of an image where a batch is one tensor."""
        ...

    def __len__(self) -> int: ...

    def collated(self, rows: Index, flat: torch.Tensor | None = None) -> Any:
        """A batch, into `flat`."""
        ...

    def block_rows(self) -> int | None:
        """Rows that are decoded together."""
        ...


def epoch_order(rows: int, shuffle: bool | Literal["block"], seed: int, epoch: int, block: int = BLOCK_ROWS) -> Index:
    """The order of one epoch: a permutation of all rows that depends on (seed, epoch) alone.

    `True` is uniform over all permutations. `"block"` permutes blocks of neighbouring rows and then the rows of every
    16 blocks with each other, for storage that is slow at random access.
    """
    if not shuffle:
        return np.arange(rows)
    random = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    if shuffle is True:
        return random.permutation(rows)
    starts = random.permutation(np.arange(0, rows, block))
    order = [np.arange(start, min(start + block, rows)) for start in starts.tolist()]
    windows = [np.concatenate(order[at : at + WINDOW_BLOCKS]) for at in range(0, len(order), WINDOW_BLOCKS)]
    return np.concatenate([random.permutation(window) for window in windows]) if windows else np.arange(0)


@dataclass(frozen=True)
class Share:
    """One process's part of an epoch's order.

    A step takes `batch_size * world_size` places of the order, rank after rank. The last, shorter step is dealt out
    evenly, so every row is used exactly once; `drop_last` leaves it out.
    """

    batch_size: int
    rank: int
    world_size: int
    drop_last: bool

    @property
    def step(self) -> int:
        """Places of the order that one step of all processes takes."""
        return self.batch_size * self.world_size

    def steps(self, left: int) -> int:
        """Batches of this process out of `left` places."""
        full, rest = divmod(left, self.step)
        return full + (not self.drop_last and self._deal(rest)[1] > self._deal(rest)[0])

    def place(self, start: int, left: int) -> tuple[int, int]:
        """First and last place (exclusive) of this process's part of the step that begins at place `start`."""
        if left >= self.step:
            first = start + self.rank * self.batch_size
            return first, first + self.batch_size
        first, last = self._deal(left)
        return start + first, start + last

    def _deal(self, rest: int) -> tuple[int, int]:
        return rest * self.rank // self.world_size, rest * (self.rank + 1) // self.world_size


class Loader:
    """Iterates over epochs of a store in batches (images, labels).

    Args:
        store: an open store.
        batch_size: rows of a batch of this process.
        shuffle: `True` for an exact permutation of all rows, `"block"` for one that reads blocks of rows together.
        seed: decides all epochs' orders; the same on every process.
        rank, world_size: this process among those that share the epoch; default: `torch.distributed`, where it is
            initialized, else 0 of 1.
        threads: threads that fetch; each runs torch with one thread of its own.
        prefetch: batches fetched ahead by each thread; small ones, below 6 MB, are fetched in groups and count as one.
        drop_last: leave out the rows that do not make a full step.

    An iteration is one epoch; the next one is the next epoch. The memory of a batch is used again once nothing refers
    to it any more, so batches may be kept, and cost new memory only then. `state_dict` says how far the epoch has been
    handed out; a loader of another batch size or world size goes on from there with exactly the rows that are left.
    """

    def __init__(
        self,
        store: Fetches,
        batch_size: int,
        *,
        shuffle: bool | Literal["block"] = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        threads: int = 2,
        prefetch: int = 2,
        drop_last: bool = False,
    ) -> None:
        here, world = distributed_rank() if rank is None and world_size is None else (rank or 0, world_size or 1)
        if batch_size < 1 or threads < 1 or prefetch < 1 or not 0 <= here < world:
            raise BadInput(
                f"batch_size {batch_size}, threads {threads}, prefetch {prefetch} must be at least 1, and rank {here} "
                f"within world_size {world}."
            )
        self._store = store
        self._share = Share(batch_size, here, world, drop_last)
        self._shuffle, self._seed, self._threads, self._ahead = shuffle, seed, threads, threads * prefetch
        self._epoch = 0
        self._used = 0
        self._free: deque[NDArray[np.uint8]] = deque()

    def __len__(self) -> int:
        """Batches left in this epoch for this process; of a whole epoch before it has begun."""
        return self._share.steps(len(self._store) - self._used)

    def set_epoch(self, epoch: int) -> None:
        """Begin `epoch` from its start with the next iteration."""
        if epoch != self._epoch:
            self._epoch, self._used = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch, and how many rows all processes together have been handed out, as plain numbers."""
        return {"seed": self._seed, "epoch": self._epoch, "used": self._used, "rows": len(self._store)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where another loader was.

        Raises:
            BadInput: its store had another number of rows.
        """
        if state["rows"] != len(self._store):
            raise BadInput(f"The state is of a store of {state['rows']} rows, this one has {len(self._store)}.")
        self._seed, self._epoch, self._used = state["seed"], state["epoch"], state["used"]

    def __iter__(self) -> Iterator[Any]:
        """The rest of this epoch. Leaving the iteration early stays in the epoch; its end begins the next one."""
        rows, share = len(self._store), self._share
        block = self._store.block_rows() or BLOCK_ROWS if self._shuffle == "block" else BLOCK_ROWS
        order = epoch_order(rows, self._shuffle, self._seed, self._epoch, block)
        epoch = self._epoch
        # without the last step where that is short
        end = rows - (rows - self._used) % share.step if share.drop_last else rows

        def steps() -> Iterator[tuple[int, Index]]:
            for at in range(self._used, end, share.step):
                first, last = share.place(at, rows - at)
                if last > first:
                    yield min(at + share.step, rows), order[first:last]

        nbytes = self._store.image_bytes
        together = min(TOGETHER, max(1, TOGETHER_BYTES // (share.batch_size * (nbytes or TOGETHER_BYTES))))
        left = steps()
        jobs = iter(lambda: list(islice(left, together)), [])
        try:
            for batches in ordered(partial(self._fetch, nbytes), jobs, self._threads, self._ahead, _one_torch_thread):
                while batches:
                    self._used, batch = batches.popleft()
                    yield batch
                    del batch  # its memory may be wanted
        finally:
            _restore_torch_threads()
        if self._epoch == epoch:
            self._epoch, self._used = epoch + 1, 0

    def _fetch(self, nbytes: int | None, steps: Sequence[tuple[int, Index]]) -> deque[tuple[int, Any]]:
        found: deque[tuple[int, Any]] = deque()
        for following, rows in steps:
            memory = None if nbytes is None else self._memory(len(rows), nbytes)
            found.append((following, self._store.collated(rows, memory)))
        return found

    def _memory(self, rows: int, nbytes: int) -> torch.Tensor:
        """Memory for a batch, which comes back once the last tensor on it is gone."""
        import torch

        try:
            whole = self._free.pop()
        except IndexError:
            whole = torch.empty((self._share.batch_size, nbytes), dtype=torch.uint8).numpy()  # begins at a line
        lent = whole[:rows]  # a new array: torch holds it, and nothing else does
        weakref.finalize(lent, self._free.append, whole).atexit = False
        return torch.from_numpy(lent)


def distributed_rank() -> tuple[int, int]:
    """Rank and world size: of `torch.distributed` where it is initialized, else 0 of 1."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def environment_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank and world size of a job: `torch.distributed`, torchrun's or SLURM's variables, else 0 of 1."""
    rank, world = distributed_rank()
    if world > 1:
        return rank, world
    for names in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if all(name in environment for name in names):
            return int(environment[names[0]]), int(environment[names[1]])
    return 0, 1


def _restore_torch_threads() -> None:
    """What `_one_torch_thread` set is also what threads of the program's own would begin with."""
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)
