"""What `tensorflow_datasets` wants beside TFRecord shards: `features.json`, `dataset_info.json`, and names of labels.

`tfds.builder_from_directory(folder)` then reads the shards as they are. The documents are protocol buffers as JSON, in
which 64-bit numbers are texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT = "tfds/1"
FEATURES, INFO, NAMES = "features.json", "dataset_info.json", "image-class-label.labels.txt"
FILES = (FEATURES, INFO, NAMES)
UNUSED = "background"
"""Name of label 0, which no record has: labels count from 1."""
_CORE = "tensorflow_datasets.core.features."


def features_json(classes: int) -> bytes:
    """Types of what a record holds; `classes` with label 0."""
    text = {"pythonClassName": f"{_CORE}text_feature.Text", "text": {}}
    number = {
        "pythonClassName": f"{_CORE}scalar.Scalar",
        "tensor": {"dtype": "int64", "encoding": "none", "shape": {}},
    }
    picture = {"dtype": "uint8", "encodingFormat": "jpeg", "shape": {"dimensions": ["-1", "-1", "3"]}}
    label = {
        "pythonClassName": f"{_CORE}class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(classes)},
    }
    image = {
        "encoded": {"pythonClassName": f"{_CORE}image_feature.Image", "image": picture},
        **dict.fromkeys(("filename", "format", "colorspace"), text),
        **dict.fromkeys(("height", "width", "channels"), number),
        "class": _features({"label": label, "synset": text}),
    }
    return _dump(_features({"image": _features(image)}))


def info_json(name: str, shards: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    """Of each split its shards in order, as (records, bytes)."""
    splits = [
        {
            "name": split,
            "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}",
            "numBytes": str(sum(nbytes for _, nbytes in found)),
            "shardLengths": [str(records) for records, _ in found],
        }
        for split, found in shards.items()
    ]
    return _dump({"name": name, "version": "1.0.0", "fileFormat": "tfrecord", "splits": splits})


def names_txt(synsets: Sequence[str]) -> bytes:
    """Names of the labels from 0 on, one a line: `UNUSED`, then the synsets in the order of labels 1, 2, …"""
    return "".join(f"{name}\n" for name in (UNUSED, *synsets)).encode()


def _features(features: Mapping[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{_CORE}features_dict.FeaturesDict", "featuresDict": {"features": features}}


def _dump(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
