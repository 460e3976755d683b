"""Epochs over a store: batches fetched ahead by threads, and a state to go on from."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

from imgassets.errors import BadInput
from imgassets.ranks import job_rank
from imgassets.stores.ahead import paced, reading
from imgassets.stores.epochs import BLOCK_ROWS, Index, Share, epoch_order
from imgassets.stores.finishing import Finish
from imgassets.stores.items import collate
from imgassets.stores.lent import Lent
from imgassets.threads import ordered

if TYPE_CHECKING:
    import torch

    from imgassets.augment import Augment
    from imgassets.stores.ct_crops import VolumeCrops

log = logging.getLogger(__name__)

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


@dataclass
class _Pass:
    """An iteration: its epoch, how many of the epoch's rows had been used before, and the batches handed out since."""

    epoch: int
    start: int = 0
    handed: int = 0


class Loader:
    """Iterates over epochs of a store in batches (images, labels).

    Args:
        store: an open store.
        batch_size: rows of a batch of this process; see below for the last one.
        shuffle: `True` for an exact permutation of all rows, `"block"` for one that reads blocks of rows together.
        seed: decides all epochs' orders; the same on every process.
        rank, world_size: this process among those that share the epoch; default: `torch.distributed`, where it is
            initialized by the time of an iteration, else torchrun's or SLURM's variables, else 0 of 1.
        threads: threads that fetch; each runs torch with one thread of its own.
        prefetch: batches fetched ahead by each thread; small ones, below 6 MB, are fetched in groups and count as one.
        drop_last: leave out the rows that do not make a full step, so that all batches have `batch_size` rows.
        augment: of a store of image files, what makes them one tensor: a crop of `imgassets.augment`. What is random
            about it depends on seed, epoch and row alone.
        normalize, dtype, channels_last: of images of one size, see `imgassets.stores.finishing.Finish`.

    An iteration is a whole epoch, and the next one the next epoch, however the first was left: by its end, after
    exactly `len(loader)` batches, or by `break`. Only a look does not count: after at most one batch of several the
    next iteration begins where that one began. Iterations may run at the same time.

    Over all processes every row comes once in an epoch, and all take the same number of steps. The rows of the last
    step are dealt out evenly; if they are fewer than the ranks, they come with the step before, in batches of
    `batch_size + 1` rows.

    The memory of a batch is used again once nothing refers to it any more, so batches may be kept, and cost new memory
    only then.

    Raises:
        BadInput: a setting is out of range, or the store has fewer rows than there are ranks.
    """

    num_workers, prefetch_factor, collate_fn = 0, None, staticmethod(collate)
    """Of a DataLoader that gives the same batches, as `accelerate.skip_first_batches` makes one."""

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
        augment: Augment | VolumeCrops | None = None,
        normalize: tuple[Sequence[float], Sequence[float]] | None = None,
        dtype: torch.dtype | None = None,
        channels_last: bool | None = None,
    ) -> None:
        if batch_size < 1 or threads < 1 or prefetch < 1:
            raise BadInput(
                f"batch_size {batch_size}, threads {threads} and prefetch {prefetch} must be at least 1 each."
            )
        self._store, self._augment, self.batch_size, self.drop_last = store, augment, batch_size, drop_last
        self._shuffle, self._seed, self._threads, self._ahead = shuffle, seed, threads, threads * prefetch
        self._rank = rank, world_size
        self._pass = _Pass(0)
        self._finish = Finish(normalize, dtype, channels_last)
        self._memory = Lent(self.batch_size + 1)  # a last batch may have one row more
        if not self._finish.idle and self.dataset.image_bytes is None:
            raise BadInput("normalize, dtype and channels_last are for images of one size: set augment as well.")
        _ = self.dataset, len(self)  # whatever is wrong is said now

    def __len__(self) -> int:
        """Batches of a whole epoch, the same for every process and at any time."""
        return self._share.steps(len(self._store))

    @property
    def dataset(self) -> Fetches:
        """The store, augmented as in the iteration that would begin now."""
        return self._dataset(self._following())

    @property
    def sampler(self) -> Sampler:
        """What trainers call `set_epoch` of."""
        return Sampler(self)

    @property
    def batch_sampler(self) -> Sampler:
        """What trainers take the rows of the batches from."""
        return Sampler(self)

    def set_epoch(self, epoch: int) -> None:
        """Begin `epoch` from its start with the next iteration, or with one that has yet to hand out its first batch.

        A state that was loaded since the last batch stays if it is one of this epoch: trainers that resume call
        `set_epoch` as well.
        """
        if self._pass.handed:
            self._pass = _Pass(epoch)
        elif self._pass.epoch != epoch:
            self._pass.epoch, self._pass.start = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch, and how many of its rows all processes together were handed out, as plain numbers.

        Those of the youngest iteration; after its last batch, of the next epoch's start.
        """
        now = self._reached()
        return {"seed": self._seed, "epoch": now.epoch, "used": now.start, "rows": len(self._store)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where another loader was, with exactly the rows that were left.

        Batch size and world size may be others. If fewer rows are left than there are ranks now, they are left out,
        which is logged, and the next epoch begins: every rank takes the same number of steps.

        Raises:
            BadInput: its store had another number of rows.
        """
        rows = len(self._store)
        if state["rows"] != rows:
            raise BadInput(f"The state is of a store of {state['rows']} rows, this one has {rows}.")
        self._seed = state["seed"]
        self._pass = self._place(state["epoch"], state["used"])
        ranks, left = self._share.world_size, rows - state["used"]
        if 0 < left < ranks and not self.drop_last:
            log.warning("the last %d rows of epoch %d are left out: too few for %d ranks", left, state["epoch"], ranks)

    def __iter__(self) -> Iterator[Any]:
        """The next epoch, or what is left of the one whose state was loaded."""
        self._pass = self._following()
        return self._batches(self._pass)

    @property
    def _share(self) -> Share:
        rank, world_size = job_rank(*self._rank)
        if world_size > 1 and len(self._store) < world_size:
            raise BadInput(
                f"The store has {len(self._store)} rows, fewer than the {world_size} ranks: use fewer processes."
            )
        return Share(self.batch_size, rank, world_size, self.drop_last)

    def _dataset(self, now: _Pass) -> Fetches:
        if self._augment is None:
            return self._store
        from imgassets.stores.selected import augmented

        return augmented(self._store, self._augment, self._seed, now.epoch)

    def _place(self, epoch: int, used: int) -> _Pass:
        """The iteration that follows on `used` rows of an epoch."""
        return _Pass(epoch, used) if self._share.steps(len(self._store) - used) else _Pass(epoch + 1)

    def _reached(self) -> _Pass:
        """The iteration that follows on the batches handed out."""
        now = self._pass
        return self._place(now.epoch, now.start + now.handed * self._share.step)

    def _following(self) -> _Pass:
        """The iteration that comes after this one, however far it went."""
        now = self._pass
        if now.handed <= 1 and self._reached().epoch == now.epoch:
            return _Pass(now.epoch, now.start)
        return _Pass(now.epoch + 1)

    def _rows(self, now: _Pass) -> Iterator[Index]:
        """Rows of each batch."""
        rows = len(self._store)
        block = self._store.block_rows() or BLOCK_ROWS if self._shuffle == "block" else BLOCK_ROWS
        order = epoch_order(rows, self._shuffle, self._seed, now.epoch, block)
        return (order[first:last] for first, last in self._share.places(now.start, rows))

    def _batches(self, now: _Pass) -> Iterator[Any]:
        dataset = self._dataset(now)
        nbytes = dataset.image_bytes
        together = min(TOGETHER, max(1, TOGETHER_BYTES // (self.batch_size * (nbytes or TOGETHER_BYTES))))
        rows = self._rows(now)
        jobs = paced(iter(lambda: list(islice(rows, together)), []), self._store, nbytes)
        fetch = reading(partial(self._fetch, dataset, nbytes))
        try:
            for batches in ordered(fetch, jobs, self._threads, self._ahead, _one_torch_thread):
                while batches:
                    batch = batches.popleft()
                    now.handed += 1
                    yield batch
                    del batch  # its memory may be wanted
        finally:
            _restore_torch_threads()

    def _fetch(self, dataset: Fetches, nbytes: int | None, batches: Iterable[Index]) -> deque[Any]:
        found: deque[Any] = deque()
        for rows in batches:
            memory = None if nbytes is None else self._memory(len(rows), nbytes)
            batch = dataset.collated(rows, memory)
            found.append(batch if self._finish.idle else (self._finish(batch[0], self._memory), *batch[1:]))
        return found


class Sampler:
    """Rows of a loader's batches without the images, a list a batch, and its `set_epoch`.

    They are those of the iteration that the loader would begin now; to go through them does not count as one.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[int]]:
        return (rows.tolist() for rows in self._loader._rows(self._loader._following()))

    def set_epoch(self, epoch: int) -> None:
        """As the loader's."""
        self._loader.set_epoch(epoch)


def _restore_torch_threads() -> None:
    """What `_one_torch_thread` set is also what threads of the program's own would begin with."""
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)
