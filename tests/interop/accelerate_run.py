"""A loop in accelerate's way: `accelerate_run.py STORE OUT`, by one process or by many.

Each rank writes its rows to `<out>/<rank>.json`: of two epochs, and of the second once more without its first batches.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch  # noqa: TID253
from accelerate import Accelerator

from imgassets import open_store

SKIPPED = 2

loader = open_store(sys.argv[1]).loader(4, shuffle=True, seed=1)  # before the processes meet
accelerator = Accelerator(cpu=True)
layer = torch.nn.Linear(48, 1)
model, optimizer, prepared = accelerator.prepare(layer, torch.optim.SGD(layer.parameters(), lr=1e-6), loader)


def train(batches: Any) -> list[list[int]]:
    seen = []
    for images, labels in batches:
        accelerator.backward(model(images.flatten(1).float()).mean())  # all ranks meet here
        optimizer.step()
        seen.append(labels.tolist())
    return seen


found: dict[str, list[Any]] = {"epochs": [], "rest": []}
for epoch in range(2):
    prepared.sampler.set_epoch(epoch)
    found["epochs"].append(train(prepared))
prepared.sampler.set_epoch(1)
found["rest"] = train(accelerator.skip_first_batches(prepared, SKIPPED))
(Path(sys.argv[2]) / f"{accelerator.process_index}.json").write_text(json.dumps(found))
accelerator.end_training()
