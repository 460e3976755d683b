import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa  # noqa: TID253
from PIL import Image

from imgassets.formats.embedding import COLOURS, Embedding, write_embedding
from tests.formats.sinks import published, stage


def test_csv_json_and_plot(tmp_path: Path) -> None:
    count = 40
    table = pa.table(
        {
            "kind": ["real"] * 30 + ["generated"] * 10,
            "class_name": ["crane, bird"] * count,
            "umap_x": np.arange(count, dtype=np.float32),
            "umap_y": np.zeros(count, np.float32),
        }
    )
    made = stage(tmp_path)
    write_embedding(Embedding("imagenet_real_umap_n15_d0.1", table, {"k": 5}), made)
    folder = published(made)
    with (folder / "imagenet_real_umap_n15_d0.1.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert float(rows[7]["umap_x"]) == 7
    assert rows[7]["class_name"] == "crane, bird"
    assert json.loads((folder / "imagenet_real_umap_n15_d0.1.json").read_text()) == {"k": 5}
    pixels = np.asarray(Image.open(folder / "plot.png").convert("RGB")).reshape(-1, 3)
    seen = {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()}
    assert set(COLOURS.values()) <= seen
