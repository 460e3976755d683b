"""Activations and images of a network as assets."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from imgassets import views
from imgassets.classes import imagenet_classes
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.formats.activation_npz import MOMENTS, ActivationReader, write_batch, write_npz
from imgassets.formats.features import FEATURES, FeatureWriter
from imgassets.formats.png_tar import PngTar, encode_png, png_name, read_pngs
from imgassets.io.base import ArtifactIOManager, Metadata
from imgassets.models.extract import Batch, Outputs
from imgassets.models.statistics import Accumulator, Moments

SHOWN = 24
IMAGES, RECONSTRUCTED = "images", "reconstructed"


@dataclass(frozen=True)
class NetworkOutputs:
    """What the network gives for one partition, and what is kept of it."""

    outputs: Iterator[Outputs]
    rows: int
    layers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Layer -> (channels, height, width); empty where only images are kept."""
    originals: bool = False
    """Keep the input images."""
    images: str | None = None
    """Under which name the network's images are kept: `images.tar`, `reconstructed.tar`; None: not at all."""
    single_files: bool = False
    """A PNG file for each image, in a folder, instead of one tar."""
    sample: Mapping[str, Any] = field(default_factory=dict)
    """What the JSON says of every sample alike (`source`, `conditioning_sigma`, …)."""
    compressed: bool = False
    stored_values: int = 0
    """Numbers per sample in the NPZ files, and the bytes of each."""
    bytes_per_value: int = 4
    facts: Mapping[str, Any] = field(default_factory=dict)


class ActivationsIOManager(ArtifactIOManager):
    """A folder of `batch_NNNNNN.npz` and `.json`, `features.parquet` and `moments.npz`; generated images in a tar."""

    format: ClassVar[str] = "activation-npz/1"

    def write(self, content: NetworkOutputs, stage: Stage) -> Written:
        """Write `NetworkOutputs` with layers."""
        stage.need(content.rows * content.stored_values * content.bytes_per_value)
        pooled = {layer: Accumulator(shape[0]) for layer, shape in content.layers.items()}
        absmax = dict.fromkeys(content.layers, 0.0)
        rows = 0
        damaged: dict[str, str] = {}
        with stage.create(FEATURES) as sink, ExitStack() as stack:
            features = FeatureWriter(sink, {layer: shape[0] for layer, shape in content.layers.items()})
            pictures = _Pictures(content, stage, stack)
            for number, out in enumerate(content.outputs):
                samples = [_describe(out.samples, i, content.sample) for i in range(len(out.samples))]
                write_batch(stage, number, out.activations, samples, compressed=content.compressed)
                features.append(out.samples.index, out.samples.class_ids, out.pooled, out.absmax, out.norm)
                pictures.add(out)
                for layer in content.layers:
                    pooled[layer].add(out.pooled[layer])
                    absmax[layer] = max(absmax[layer], float(out.absmax[layer].max()))
                rows += len(out.samples)
                damaged |= out.samples.damaged
            features.close()
            pictures.close()
        with stage.create(MOMENTS) as sink:
            write_npz(sink, {k: v for layer, p in pooled.items() for k, v in p.moments().as_arrays(layer).items()})
        shapes = {layer: list(shape) for layer, shape in content.layers.items()}
        facts = {"rows": rows, "layers": shapes, "absmax": absmax, "non_finite": 0}
        return _written(facts | dict(content.facts), damaged)

    def open(self, location: Location) -> ActivationReader:
        """An `ActivationReader`."""
        return ActivationReader(location.path)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """Norms of the samples and the statistics of each layer; a contact sheet where images were generated."""
        reader = self.open(location)
        if not manifest.facts["rows"]:
            return {}
        metadata: dict[str, Any] = {"layer_statistics": dg.MetadataValue.md(_layer_table(reader, manifest))}
        tar = location.file(f"{IMAGES}.tar")
        if tar.is_file():
            shown = np.stack([image for _, image in islice(read_pngs(tar), SHOWN)])
            metadata["generated"] = dg.MetadataValue.md(views.contact_sheet(shown, "Generated images"))
        return metadata


class ReconstructionsIOManager(ArtifactIOManager):
    """A folder with `images.tar` and `reconstructed.tar` of PNGs named by global index, or folders of these names."""

    format: ClassVar[str] = "png-tar/1"

    def write(self, content: NetworkOutputs, stage: Stage) -> Written:
        """Write `NetworkOutputs` with images."""
        rows = 0
        error = 0.0
        damaged: dict[str, str] = {}
        with ExitStack() as stack:
            pictures = _Pictures(content, stage, stack)
            for out in content.outputs:
                pictures.add(out)
                rows += len(out.samples)
                error += _squared_error(out)
                damaged |= out.samples.damaged
            pictures.close()
        facts = {"rows": rows, "rms_difference": (error / rows) ** 0.5 if rows else 0.0}
        return _written(facts | dict(content.facts), damaged)

    def open(self, location: Location) -> Location:
        """The folder itself: tars and PNGs need no reader of ours."""
        return location

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """Originals beside their reconstructions."""
        pair = [_first_images(location, name) for name in (IMAGES, RECONSTRUCTED)]
        if not pair[0]:
            return {}
        sheet = np.stack([image for both in zip(*pair, strict=True) for image in both])
        title = "Originals, each with its one-step reconstruction to the right"
        return {"contact_sheet": dg.MetadataValue.md(views.contact_sheet(sheet, title))}


def _written(facts: dict[str, Any], damaged: Mapping[str, str]) -> Written:
    """With images that decode only with a complaint counted, and listed with it."""
    listed = [{"name": name, "reason": reason} for name, reason in damaged.items()]
    return Written(facts | ({"notes": {"damaged": len(listed)}} if listed else {}), listed)


class _Pictures:
    """Where the images of a partition go, as its content asks."""

    def __init__(self, content: NetworkOutputs, stage: Stage, stack: ExitStack) -> None:
        self._stage = stage
        self._files = content.single_files
        names = [IMAGES] * content.originals + [content.images] * (content.images is not None)
        self._originals, self._image = content.originals, content.images
        self._tars: dict[str, PngTar] = {}
        if not self._files:
            self._tars = {str(name): PngTar(stack.enter_context(stage.create(f"{name}.tar"))) for name in names}

    def add(self, out: Outputs) -> None:
        """Keep the images of a batch."""
        kinds = {IMAGES: out.samples.images} if self._originals else {}
        if self._image is not None:
            kinds[self._image] = out.image
        for name, images in kinds.items():
            assert images is not None
            for index, image in zip(out.samples.index.tolist(), images.transpose(0, 2, 3, 1), strict=True):
                if self._files:
                    with self._stage.create(f"{name}/{png_name(index)}") as sink:
                        sink.write(encode_png(image))
                else:
                    self._tars[name].add(index, image)

    def close(self) -> None:
        """End the tars."""
        for tar in self._tars.values():
            tar.close()


def _describe(samples: Batch, i: int, shared: Mapping[str, Any]) -> dict[str, Any]:
    """What the JSON of a batch says of one sample, in the words of the DMD2 visualizer."""
    class_id = int(samples.class_ids[i])
    synset, name = imagenet_classes().described(class_id)
    known = {"class_id": class_id, "synset_id": synset, "class_name": name}
    return {"global_index": int(samples.index[i]), **known, "original_path": samples.names[i], **shared}


def _squared_error(out: Outputs) -> float:
    """Sum over the samples of the mean squared difference of image and reconstruction, in levels of 0..255."""
    if out.image is None or out.samples.images is None:
        return 0.0
    difference = out.image.astype(np.float32) - out.samples.images
    return float(np.square(difference).mean(axis=(1, 2, 3), dtype=np.float64).sum())


def _first_images(location: Location, name: str) -> list[NDArray[np.uint8]]:
    tar = location.file(f"{name}.tar")
    if tar.is_file():
        return [image for _, image in islice(read_pngs(tar), SHOWN)]
    from PIL import Image

    files = sorted((location.path / name).glob("sample_*.png"))[:SHOWN]
    return [np.asarray(Image.open(file)) for file in files]


def _layer_table(reader: ActivationReader, manifest: Manifest) -> str:
    """A Markdown table: shape, largest value, mean L2 norm and spread of the pooled features by layer."""
    lines = ["| layer | shape | max abs | mean norm | pooled std |", "|---|---|---|---|---|"]
    moments = reader.moments()
    for layer, shape in manifest.facts["layers"].items():
        norms = reader.features([f"{layer}_norm"]).column(0).to_numpy()
        known = Moments.from_arrays(moments, layer)
        std = float(np.sqrt(np.trace(known.scatter) / max(known.count, 1) / shape[0]))
        size = "×".join(map(str, shape))
        lines.append(f"| {layer} | {size} | {manifest.facts['absmax'][layer]:.4g} | {norms.mean():.5g} | {std:.4g} |")
    return "\n".join(lines)
