"""torchdata's StatefulDataLoader over a store: `torchdata_run.py STORE OUT WORKERS`.

Writes the rows of epochs that were left and taken up again to `<out>/0.json`: shuffled, and by lists of rows.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.data import BatchSampler, SequentialSampler  # noqa: TID253
from torchdata.stateful_dataloader import StatefulDataLoader

from imgassets import collate, open_store

store = open_store(sys.argv[1])


def loaders() -> list[StatefulDataLoader]:
    workers = int(sys.argv[3])
    return [
        StatefulDataLoader(store, batch_size=4, shuffle=True, collate_fn=collate, num_workers=workers),
        StatefulDataLoader(
            store, batch_size=None, sampler=BatchSampler(SequentialSampler(store), 4, False), num_workers=workers
        ),
    ]


def rows(batches: Any) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


found = []
for loader, other in zip(loaders(), loaders(), strict=True):
    batches = iter(loader)
    first = rows(islice(batches, 3))
    other.load_state_dict(loader.state_dict())
    found.append(first + rows(other))
(Path(sys.argv[2]) / "0.json").write_text(json.dumps(found))
