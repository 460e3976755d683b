"""How a partition of activations, reconstructions or generated images is made: what decides it, then its content."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.components.network.config import Score, kept_settings, output_settings, selection_rule
from imgassets.components.network.estimates import activation_bytes, network_estimate, png_bytes
from imgassets.components.network.inputs import Input, OpenInput, Rows
from imgassets.environment import Device, Storage
from imgassets.errors import BadInput
from imgassets.io.activations import IMAGES, RECONSTRUCTED, NetworkOutputs
from imgassets.io.artifacts import Build, Estimate
from imgassets.models.checkpoint import files_of, find_checkpoint
from imgassets.models.config import NetworkConfig
from imgassets.models.extract import Batch, Extractor, Outputs
from imgassets.models.selection import Selection, select
from imgassets.models.settings import Compute, Extraction


@dataclass(frozen=True)
class NetworkRun:
    """The network of one run, opened when the first partition needs it, and what is asked of it."""

    storage: Storage
    device: Device
    checkpoint: str
    network: str
    extraction: Extraction
    dtype: str | None = None
    weights: str = ""

    @cached_property
    def path(self) -> Path:
        """The checkpoint's file."""
        return find_checkpoint(self.checkpoint, self.storage.raw_root)

    @cached_property
    def config(self) -> NetworkConfig:
        """The network's shape: `network.json` where there is one, else the published one."""
        path = self.storage.raw_root / self.network
        return NetworkConfig.load(path) if path.exists() else NetworkConfig()

    @cached_property
    def compute(self) -> Compute:
        """Device and precision."""
        return self.device.compute(self.dtype)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The layers in the order of computation."""
        return self.extraction.fit(self.config)

    @cached_property
    def _placed(self) -> Any:
        from imgassets.models.checkpoint import load_network
        from imgassets.models.device import choose_device, place

        choose_device(self.compute)
        return place(load_network(self.path, self.config, self.weights), self.compute)

    @property
    def inputs(self) -> dict[str, str]:
        """Checksums of the weights' files."""
        return {k: v for file in files_of(self.path) for k, v in self.storage.raw_checksums(file).items()}

    @property
    def settings(self) -> dict[str, Any]:
        """What decides any output, as JSON values."""
        return output_settings(self.extraction, self.compute, self.config, self.weights)

    @property
    def kept(self) -> dict[str, Any]:
        """What decides which activations are kept and how."""
        return kept_settings(self.extraction, self.layers)

    def outputs(self, samples: Iterator[Batch], *, layers: bool, image: bool, noise: bool = False) -> Iterator[Outputs]:
        """Run the network over the samples."""
        network, device = self._placed
        extractor = Extractor(
            network,
            device,
            self.extraction,
            source="noise" if noise else None,
            layers=self.layers if layers else (),
            image=image,
            most=self.device.max_batch,
        )
        yield from extractor(samples)

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) of the layers."""
        return {layer: self.config.layer_shape(layer) for layer in self.layers}

    @property
    def kept_values(self) -> dict[str, int]:
        """Numbers kept of a sample, by layer."""
        pooled = self.extraction.storage == "pooled"
        return {layer: shape[0] if pooled else int(np.prod(shape)) for layer, shape in self.shapes.items()}

    @property
    def value_bytes(self) -> int:
        """Bytes of each of them."""
        return 2 if self.extraction.storage_dtype == "float16" else 4

    def estimate(self, rows: int, source: str = "", images: int = 0, single_files: bool = False) -> Estimate:
        """What the activations (given their `source`), or so many images of each sample, cost."""
        edge, e = self.config.img_resolution, self.extraction
        write = images * png_bytes(rows, edge, single_files)
        if source:
            write += activation_bytes(self.shapes, rows, e.batch_size, self.kept_values, self.value_bytes, source)
        read = rows * 3 * edge * edge if source != "generated" else 0
        return network_estimate(write, rows, read, self.config.model_channels, whole=bool(images))

    def content(self, outputs: Iterator[Outputs], rows: int, source: str, facts: dict[str, Any], **kept: Any) -> Any:
        """The activations of some samples as content of a partition."""
        e = self.extraction
        return NetworkOutputs(
            outputs,
            rows,
            self.shapes,
            sample={"source": source, "conditioning_sigma": float(e.conditioning_sigma)},
            compressed=e.compressed,
            stored_values=sum(self.kept_values.values()),
            bytes_per_value=self.value_bytes,
            facts=facts,
            **kept,
        )


@dataclass(frozen=True)
class InputRun:
    """A network run over a data set."""

    run: NetworkRun
    source: Input
    reader: OpenInput
    selection: Selection
    score: Score | None = None
    single_files: bool = False

    def activations(self, key: str) -> Build:
        """One partition of activations."""
        rows, first, inputs, facts = self._share(key)
        config = self._config(first) | self.run.kept
        defaults = self._defaults | kept_settings(Extraction(), Extraction.layers)
        return Build(
            lambda: self.run.content(
                self.run.outputs(self._samples(key, rows), layers=True, image=False),
                len(rows),
                self.source.source,
                facts,
            ),
            inputs=inputs,
            config=config,
            defaults=defaults,
            estimate=lambda: self.run.estimate(len(rows), self.source.source),
        )

    def reconstructions(self, key: str) -> Build:
        """One partition of originals and reconstructions."""
        rows, first, inputs, facts = self._share(key)

        def content() -> NetworkOutputs:
            outputs = self.run.outputs(self._samples(key, rows), layers=False, image=True)
            files = self.single_files
            return NetworkOutputs(
                outputs, len(rows), originals=True, images=RECONSTRUCTED, single_files=files, facts=facts
            )

        config = self._config(first) | {"single_files": self.single_files}
        return Build(
            content,
            inputs=inputs,
            config=config,
            defaults=self._defaults | {"single_files": InputRun.single_files},
            estimate=lambda: self.run.estimate(len(rows), images=2, single_files=self.single_files),
        )

    def _config(self, first: int) -> dict[str, Any]:
        rule = selection_rule(self.selection, self.score)
        return self.run.settings | {"selection": rule, "first_row": first} | self.source.settings

    @property
    def _defaults(self) -> dict[str, Any]:
        return output_settings() | {"selection": selection_rule(Selection(), None)} | self.source.defaults

    def _samples(self, key: str, rows: Rows) -> Iterator[Batch]:
        return self.reader.samples(key, rows, self.run.extraction.batch_size, self.run.config.img_resolution)

    def _share(self, key: str) -> tuple[Rows, int, dict[str, str], dict[str, Any]]:
        """This partition's rows of the split's selection, the global index of its first row, what was read, counts."""
        inputs = self.run.inputs | self.reader.index_inputs(key) | self.reader.pixel_inputs(key)
        first, own = self.reader.span(key)
        if self.selection.takes_all:
            return np.arange(own), first, inputs, {"available_rows": own, "selected_of_split": "all"}
        siblings = next(keys for keys in self.source.splits.values() if key in keys)
        for sibling in siblings:
            inputs |= self.reader.index_inputs(sibling)
        split = np.concatenate([self.reader.rows(sibling)[1] for sibling in siblings])
        scores, read = self._scores(len(split))
        chosen = select(split, self.selection, scores)
        mine = chosen[(chosen >= first) & (chosen < first + own)] - first
        facts = {"available_rows": own, "selected_of_split": len(chosen)}
        if scores is not None:
            facts["split_rows_without_score"] = int(np.count_nonzero(np.isnan(scores)))
        return mine, first, inputs | read, facts

    def _scores(self, rows: int) -> tuple[NDArray[np.float64] | None, dict[str, str]]:
        """The split's scores by global index, NaN where there is none, and the files they come from."""
        if self.score is None or self.selection.percentile == (0.0, 100.0):
            return None, {}
        import pyarrow as pa
        import pyarrow.parquet as pq

        root = self.storage.vault.root
        files = sorted(root.glob(self.score.files))
        if not files:
            raise BadInput(f"score: no file matches {self.score.files} below {root}; materialize what it names first")
        scores = np.full(rows, np.nan)
        read = {}
        for file in files:
            try:
                table = pq.read_table(file, columns=["global_index", self.score.column])
                values = table[self.score.column].to_numpy().astype(np.float64)
                numbers = table["global_index"].to_numpy()
            except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
                raise BadInput(
                    f"{file}: a Parquet file with the columns global_index and {self.score.column} (numbers) was "
                    f"expected ({str(error)[:120]})"
                ) from error
            if len(numbers) and (numbers.min() < 0 or numbers.max() >= rows):
                raise BadInput(
                    f"{file}: global_index {numbers.max()} is beyond the split's {rows} rows; name its split"
                )
            if not np.isfinite(values).all() or not np.isnan(scores[numbers]).all():
                raise BadInput(f"{file}: a {self.score.column} is not finite, or a global_index has two; mend the file")
            scores[numbers] = values
            read[file.relative_to(root).as_posix()] = self.storage.vault.checksums.of(file)
        return scores, read

    @property
    def storage(self) -> Storage:
        """Where things lie."""
        return self.run.storage


@dataclass(frozen=True)
class GeneratedRun:
    """Images generated from seeded noise, in chunks."""

    run: NetworkRun
    chunk: int
    """Samples per partition."""
    classes: tuple[int, ...] = ()
    """Cycled through; empty: drawn from all classes, seeded."""

    def build(self, key: str) -> Build:
        """One chunk: the activations and the images."""
        index = np.arange(int(key) * self.chunk, (int(key) + 1) * self.chunk)

        def content() -> NetworkOutputs:
            outputs = self.run.outputs(self._samples(index), layers=True, image=True, noise=True)
            made: NetworkOutputs = self.run.content(outputs, len(index), "generated", {}, images=IMAGES)
            return made

        config = self.run.settings | self.run.kept | {"chunk": self.chunk, "classes": list(self.classes)}
        return Build(
            content,
            inputs=self.run.inputs,
            config=config,
            defaults=output_settings() | kept_settings(Extraction(), Extraction.layers) | {"classes": []},
            estimate=lambda: self.run.estimate(len(index), "generated", images=1),
        )

    def _samples(self, index: Rows) -> Iterator[Batch]:
        last = int(index[-1]) + 1
        if self.classes:
            classes = np.resize(np.array(self.classes, np.int64), last)
        else:
            classes = np.random.RandomState(self.run.extraction.seed).randint(0, self.run.config.label_dim, last)
        for start in range(0, len(index), self.run.extraction.batch_size):
            some = index[start : start + self.run.extraction.batch_size]
            yield Batch(some, tuple(f"generated_{i}" for i in some), classes[some].astype(np.int64))
