"""`.huggingface.yaml`: what `datasets.load_dataset(folder)` is told of a store whose files do not say it themselves.

Which of its files are data, of which split, and where the types alone do not show it, what is an image and what classes
are called. The file is hidden, so no other program takes it for data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgassets.columns import Field
from imgassets.commit.names import CARD

Feature = dict[str, Any]


def card(split: str, files: str, features: Sequence[Feature] = ()) -> dict[str, bytes]:
    """The file by its name: `files` is a pattern of those with data, `features` are the columns, else guessed."""
    import yaml

    document: dict[str, Any] = {
        "configs": [{"config_name": "default", "data_files": [{"split": split, "path": files}]}]
    }
    if features:
        document["dataset_info"] = {"features": list(features)}
    text = yaml.safe_dump(document, sort_keys=False, width=1 << 20)
    return {CARD: bytes(text, "ascii")}


def plain(name: str, dtype: str) -> Feature:
    """A column of one of the types of `datasets`, e.g. `image` or `string`."""
    return {"name": name, "dtype": dtype}


def label(name: str, field: Field, classes: Sequence[str]) -> Feature:
    """A column of whole numbers, with the names of classes where they number these."""
    if field.name == "label" and classes:
        return {"name": name, "dtype": {"class_label": {"names": {str(k): word for k, word in enumerate(classes)}}}}
    return plain(name, np.dtype(field.dtype).name)


def array(name: str, field: Field) -> Feature:
    """A column of arrays of one shape."""
    values: Any = np.dtype(field.dtype).name
    for length in reversed(field.shape):
        values = {"list": values, "length": length}
    return {"name": name, **values} if field.shape else plain(name, values)
