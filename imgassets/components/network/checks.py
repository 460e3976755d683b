"""What is proven of activations and images, with numbers."""

import tarfile

import dagster as dg
import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.components.checks import Finding, artifact_check, bytes_verified
from imgassets.formats.activation_npz import ActivationReader, samples_of
from imgassets.formats.png_tar import read_pngs
from imgassets.io.activations import IMAGES, RECONSTRUCTED
from imgassets.io.artifacts import Artifact


def activation_checks(
    activations: dg.AssetsDefinition,
    reconstructions: dg.AssetsDefinition,
    generated: dg.AssetsDefinition,
    embedding: dg.AssetsDefinition,
) -> list[dg.AssetChecksDefinition]:
    """All checks of one data set."""
    checks = []
    for asset in (activations, generated):
        checks += [
            artifact_check(asset, "all_finite", _all_finite),
            artifact_check(asset, "every_sample_once", _every_sample_once),
            artifact_check(asset, "labels_agree", _labels_agree),
        ]
    return [
        *checks,
        artifact_check(reconstructions, "images_complete", _images_complete),
        artifact_check(embedding, "bytes_verified", bytes_verified),
    ]


def _all_finite(artifact: Artifact) -> Finding:
    """Every value of every layer is finite and no layer is zero throughout; reads every batch."""
    reader: ActivationReader = artifact.open()
    bad = values = 0
    largest: dict[str, float] = {}
    for number in range(len(reader.batches)):
        layers, _ = reader.read(number)
        for layer, rows in layers.items():
            bad += int(np.count_nonzero(~np.isfinite(rows)))
            values += rows.size
            largest[layer] = max(largest.get(layer, 0.0), float(np.abs(rows).max(initial=0)))
    dead = [layer for layer, value in largest.items() if value == 0]
    text = f"{bad} of {values} values are not finite" + (f"; all zero: {', '.join(dead)}" if dead else "")
    return Finding(not bad and not dead, {"non_finite": bad, "values": values, **largest}, text)


def _every_sample_once(artifact: Artifact) -> Finding:
    """The batches list each sample of the partition once, by ascending global index, as `features.parquet` does."""
    reader: ActivationReader = artifact.open()
    listed = [sample["global_index"] for number in range(len(reader.batches)) for sample in reader.read(number)[1]]
    rows = artifact.manifest.facts["rows"]
    features = reader.features(["global_index"])["global_index"].to_pylist()
    passed = len(listed) == rows and listed == features and sorted(set(listed)) == listed
    return Finding(passed, {"rows": rows, "listed": len(listed), "distinct": len(set(listed))}, f"{len(listed)} listed")


def _labels_agree(artifact: Artifact) -> Finding:
    """class_id, synset and class name of every sample belong together."""
    classes = imagenet_classes()
    wrong = count = 0
    for path in artifact.open().batches:
        for sample in samples_of(path):
            wrong += (sample["synset_id"], sample["class_name"]) != classes.described(sample["class_id"])
            count += 1
    return Finding(not wrong, {"samples": count, "wrong": wrong}, f"{wrong} of {count} samples are labelled wrong")


def _images_complete(artifact: Artifact) -> Finding:
    """Every image can be read, originals and reconstructions have the same names, and there is one for each row."""
    names = {}
    for kind in (IMAGES, RECONSTRUCTED):
        tar = artifact.location.file(f"{kind}.tar")
        try:
            found = [name for name, _ in read_pngs(tar)] if tar.is_file() else _files(artifact, kind)
        except (tarfile.TarError, OSError, SyntaxError) as error:
            return Finding(False, {}, f"{tar}: {error}")
        names[kind] = found
    rows = artifact.manifest.facts["rows"]
    passed = names[IMAGES] == names[RECONSTRUCTED] and len(set(names[IMAGES])) == rows
    return Finding(passed, {"rows": rows, **{kind: len(found) for kind, found in names.items()}}, f"{rows} pairs")


def _files(artifact: Artifact, kind: str) -> list[str]:
    from PIL import Image

    found = sorted((artifact.location.path / kind).glob("*.png")) if artifact.manifest.facts["rows"] else []
    for path in found:
        with Image.open(path) as picture:
            picture.load()
    return [path.name for path in found]
