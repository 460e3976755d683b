"""Activations in the folders of the DMD2 visualizer: activations, images, metadata with `dataset_info.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imgassets.classes import imagenet_classes
from imgassets.errors import MissingUpstream
from imgassets.formats.activation_npz import ActivationReader, samples_of
from imgassets.formats.png_tar import png_name, read_members
from imgassets.io.activations import IMAGES, RECONSTRUCTED
from imgassets.io.artifacts import Artifact

Entry = tuple[str, Path | bytes]
"""Where it lies in the tree, and the file it is, or its content."""


def activation_tree(artifacts: Iterable[Artifact]) -> Iterator[Entry]:
    """The tree over some finished partitions of `activations` or `generated`; batches and samples are numbered anew.

    Images are taken from the partition itself, or from the one of the same key of `reconstructions` beside it, where
    that is finished; without them the paths in `dataset_info.json` are null.
    """
    samples: list[dict[str, Any]] = []
    batches = 0
    first: Artifact | None = None
    model = "imagenet_real"
    for artifact in artifacts:
        if first is None:
            first, model = artifact, "imagenet" if artifact.asset.endswith("/generated") else "imagenet_real"
        reader: ActivationReader = artifact.open()
        pictures = _pictures(artifact, model)
        for path in reader.batches:
            name = f"activations/{model}/batch_{batches:06d}"
            yield f"{name}.npz", path
            yield f"{name}.json", path.with_suffix(".json")
            batches += 1
            for sample in samples_of(path):
                paths = {}
                for field, (folder, content) in pictures.items():
                    paths[field] = f"images/{folder}/{png_name(len(samples))}"
                    yield paths[field], content[png_name(sample["global_index"])]
                samples.append(_info(sample, len(samples), name, paths))
    if first is not None:
        yield f"metadata/{model}/dataset_info.json", _document(first, model, samples)


def _info(sample: dict[str, Any], number: int, activation_path: str, paths: dict[str, str]) -> dict[str, Any]:
    pictures = {"image_path": None, "reconstructed_path": None} | paths
    rest = {key: value for key, value in sample.items() if key not in ("class_id", "global_index")}
    known = {"sample_id": f"sample_{number:06d}", "class_label": sample["class_id"], "activation_path": activation_path}
    return known | pictures | rest


def _document(artifact: Artifact, model: str, samples: list[dict[str, Any]]) -> bytes:
    config = artifact.manifest.settings
    classes, split = imagenet_classes(), artifact.partition
    labels = {str(i): list(pair) for i, pair in enumerate(zip(classes.synsets, classes.names, strict=True))}
    document = {
        "model_type": model,
        "num_samples": len(samples),
        "layers": config["layers"],
        "conditioning_sigma": config["conditioning_sigma"],
        "seed": config["seed"],
        "split": {"train_data_batch": "train", "val_data": "val"}.get(artifact.partition.rstrip("_0123456789"), split),
        "class_labels": labels,
        "samples": samples,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _pictures(artifact: Artifact, model: str) -> dict[str, tuple[str, dict[str, bytes | Path]]]:
    """By field of a sample: the folder of its images, and the images by member name."""
    if model == "imagenet":
        return {"image_path": (model, _images(artifact.location.path, IMAGES))}
    location = artifact.vault.location(
        *artifact.asset.split("/")[:-1], "reconstructions", artifact.partition, folder=True
    )
    try:
        artifact.vault.manifest(location)
    except MissingUpstream:
        return {}
    return {
        "image_path": (model, _images(location.path, IMAGES)),
        "reconstructed_path": (f"{model}_reconstructed", _images(location.path, RECONSTRUCTED)),
    }


def _images(folder: Path, name: str) -> dict[str, bytes | Path]:
    tar = folder / f"{name}.tar"
    return dict(read_members(tar)) if tar.is_file() else {path.name: path for path in (folder / name).iterdir()}
