"""Which of a job's processes this one is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache

from imgassets.errors import BadInput

VARIABLES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
"""Rank and world size as torchrun and SLURM tell them."""

log = logging.getLogger(__name__)


def job_rank(rank: int | None = None, world_size: int | None = None) -> tuple[int, int]:
    """Rank and world size: as given, else those of `environment_rank`.

    Raises:
        BadInput: one is given without the other, or they do not fit.
    """
    if rank is None and world_size is None:
        return environment_rank()
    if rank is None or world_size is None:
        raise BadInput(f"rank is {rank} and world_size {world_size}: give both, or neither.")
    if not 0 <= rank < world_size:
        raise BadInput(f"rank {rank} is not within world_size {world_size}.")
    return rank, world_size


def environment_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank and world size: of `torch.distributed` where it is initialized, else of torchrun's or SLURM's variables
    where both of a pair are set, else 0 of 1. What was found is logged once.

    Raises:
        BadInput: the variables are no rank within a world size.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        _say(logging.INFO, dist.get_rank(), dist.get_world_size(), "torch.distributed")
        return dist.get_rank(), dist.get_world_size()
    for names in VARIABLES:
        if all(name in environment for name in names):
            return _told(names, environment)
    return 0, 1


def _told(names: tuple[str, str], environment: Mapping[str, str]) -> tuple[int, int]:
    texts = [environment[name] for name in names]
    if not all(text.isascii() and text.isdigit() for text in texts) or int(texts[0]) >= int(texts[1]):
        raise BadInput(
            f"{names[0]}={texts[0]!r} and {names[1]}={texts[1]!r} in the environment are no rank and world size: "
            "correct or unset them, or give rank and world_size."
        )
    rank, world_size = map(int, texts)
    if world_size > 1:
        _say(logging.WARNING, rank, world_size, " and ".join(names))
    return rank, world_size


@cache
def _say(level: int, rank: int, world_size: int, source: str) -> None:
    log.log(level, "this process is rank %d of %d, says %s", rank, world_size, source)
