"""A Lightning training whose model notes the rows it is given: `lightning_run.py SETTINGS`, JSON.

Each rank writes {"train": rows by epoch, "val": rows by epoch} to `<out>/<rank>.json`. The loaders are made before the
trainer, so before its processes meet.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import torch  # noqa: TID253
from lightning.pytorch.callbacks import ModelCheckpoint

from imgassets import open_store

GIVEN = json.loads(sys.argv[1])
OUT = Path(GIVEN["out"])


class Model(lightning.LightningModule):
    """Learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(48, 1)
        self.seen: dict[str, dict[int, list[int]]] = {"train": defaultdict(list), "val": defaultdict(list)}

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        images, labels = batch
        self.seen["train"][self.current_epoch] += labels.tolist()
        return self.layer(images.flatten(1).float()).mean()

    def validation_step(self, batch: Any, _: int) -> None:
        if not self.trainer.sanity_checking:
            self.seen["val"][self.current_epoch] += batch[1].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-6)


store = open_store(GIVEN["store"])
train, val = store.loader(GIVEN["batch_size"], shuffle=True, seed=1), store.loader(4)
every = GIVEN.get("save_every")
trainer = lightning.Trainer(
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=every is not None,
    callbacks=[ModelCheckpoint(OUT, "saved", every_n_train_steps=every)] if every else [],
    **GIVEN["trainer"],
)
model = Model()
trainer.fit(model, train, val, ckpt_path=GIVEN.get("resume"))
(OUT / f"{trainer.global_rank}.json").write_text(json.dumps(model.seen))
