"""CT shards through Dagster: the contract of every IO manager."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from imgassets.environment import Storage
from imgassets.formats.ct_shard import Resampled, WrittenShard
from imgassets.io.ct_rate import CtShardIOManager
from imgassets.testing.io_manager import IOManagerContract

KEYS = ["train-000001", "train-000002", "train-000010", "train-000000"]


@dataclass
class Content:
    """One volume, and one that was left out."""

    number: int
    nbytes: int = 1 << 20
    skipped: list[dict[str, str]] = field(default_factory=list)
    noted: list[dict[str, str]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    members: Literal["guide"] = "guide"

    def samples(self, work: Path) -> Iterator[Resampled]:
        work.mkdir(parents=True)
        array = np.full((4, 5, 6), self.number, np.float16)
        yield Resampled(f"train_{self.number}_a_1", array, "report", (1, 0), (4, 5, 6), (1, 1, 1), "")
        self.skipped.append({"key": f"train_{self.number}_a_2", "reason": "blank"})
        work.rmdir()


class TestCtShards(IOManagerContract):
    keys = KEYS

    def manager(self, storage: Storage) -> CtShardIOManager:
        return CtShardIOManager(storage=storage)

    def content(self, key: str) -> Content:
        return Content(int(key[-6:]))

    def check(self, handle: WrittenShard, key: str) -> None:
        assert [record.key for record in handle.samples] == [f"train_{int(key[-6:])}_a_1"]
