"""How an embedding of real and generated activations is made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.errors import BadInput
from imgassets.formats.embedding import Embedding
from imgassets.formats.features import pooled_matrix
from imgassets.io.artifacts import Artifact, Artifacts, Build, Estimate, as_inputs
from imgassets.models.embedding import UmapSettings, principal_components, umap_plane
from imgassets.models.settings import Extraction
from imgassets.models.statistics import Moments, frechet_distance, frechet_warning, merge, overlap

if TYPE_CHECKING:
    import pyarrow as pa

POINTS = 5000
"""Most real, and most generated, points of a plot, unless somebody says otherwise."""
NEIGHBOURS = 5
"""k of precision, recall and coverage (Naeem et al. 2020)."""


POINT_BYTES, OTHER_BYTES = 67, 12_500
"""Of the CSV for each point; of the JSON and the plot."""
EMBEDDING_MEMORY, EMBEDDING_SECONDS = 1_500 * 2**20, 60.0
"""With UMAP and its compiler, for 10,000 points."""


@dataclass(frozen=True)
class EmbeddingRun:
    """Embeddings of the splits of one data set beside the generated samples."""

    splits: Mapping[str, list[str]]
    activations: Artifacts
    generated: Artifacts
    points: int
    """Most real, and most generated, samples that are laid out; the distances' moments are of all."""
    seed: int
    umap: UmapSettings

    def build(self, split: str) -> Build:
        """One split."""
        real = [self.activations[key] for key in self.splits[split]]
        made = list(self.generated.values())
        inputs = as_inputs(chain(real, made))
        return Build(
            lambda: self._content(real, made),
            inputs=inputs,
            config={"points": self.points, "seed": self.seed, "umap": asdict(self.umap), "k": NEIGHBOURS},
            defaults={"points": POINTS, "seed": Extraction.seed, "umap": asdict(UmapSettings())},
            estimate=lambda: self._estimate(real, made),
            kept=("embedding/1",),
        )

    def _estimate(self, real: list[Artifact], made: list[Artifact]) -> Estimate:
        points = sum(min(self.points, sum(part.manifest.facts["rows"] for part in some)) for some in (real, made))
        return Estimate(OTHER_BYTES + POINT_BYTES * points, points, memory=EMBEDDING_MEMORY, seconds=EMBEDDING_SECONDS)

    def _content(self, real: list[Artifact], made: list[Artifact]) -> Embedding:
        import pyarrow as pa

        layers = _layers([*real, *made])
        tables = {"real": self._sample(real, layers), "generated": self._sample(made, layers)}
        pooled = {kind: {layer: pooled_matrix(t, layer) for layer in layers} for kind, t in tables.items()}
        together = np.concatenate(
            [np.concatenate([pooled[kind][layer] for layer in layers], axis=1) for kind in tables]
        )
        plane = umap_plane(principal_components(together, self.umap.pca), self.umap)
        class_ids = np.concatenate([table["class_id"].to_numpy() for table in tables.values()])
        described = list(map(imagenet_classes().described, class_ids.tolist()))
        columns: dict[str, Any] = {
            "kind": [kind for kind, table in tables.items() for _ in range(len(table))],
            "global_index": np.concatenate([table["global_index"].to_numpy() for table in tables.values()]),
            "class_id": class_ids,
            "synset_id": [synset for synset, _ in described],
            "class_name": [name for _, name in described],
            "umap_x": plane[:, 0],
            "umap_y": plane[:, 1],
        }
        distances = {
            layer: _distance(_moments(real, layer), _moments(made, layer))
            | asdict(overlap(pooled["real"][layer], pooled["generated"][layer], NEIGHBOURS))
            for layer in layers
        }
        samples = {f"{kind}_samples": len(table) for kind, table in tables.items()}
        report = {"umap": asdict(self.umap), "features": "mean over pixels", "layers": distances, "samples": samples}
        stem = f"imagenet_real_umap_n{self.umap.n_neighbors}_d{self.umap.min_dist}"
        return Embedding(stem, pa.table(columns), report)

    def _sample(self, parts: list[Artifact], layers: list[str]) -> "pa.Table":
        """Rows of all parts, at most `points` of them, each as likely as any other."""
        import pyarrow as pa

        counts = [part.manifest.facts["rows"] for part in parts]
        total = sum(counts)
        if not total:
            raise BadInput(f"{parts[0].asset}: no sample in any partition of the split; select some")
        chosen = np.sort(np.random.RandomState(self.seed).permutation(total)[: self.points])
        ends = np.cumsum(counts)
        tables = []
        for part, count, end in zip(parts, counts, ends, strict=True):
            mine = chosen[(chosen >= end - count) & (chosen < end)] - (end - count)
            if len(mine):
                tables.append(part.open().features(["global_index", "class_id", *layers]).take(mine))
        return pa.concat_tables(tables).combine_chunks()


def _layers(parts: list[Artifact]) -> list[str]:
    """The layers of all parts in the order of their names, as the DMD2 visualizer joins them; they must be the same."""
    found = {part: sorted(part.manifest.facts["layers"]) for part in parts}
    first, *others = found.items()
    for part, layers in others:
        if layers != first[1]:
            raise BadInput(
                f"{part.asset}/{part.partition} has the layers {', '.join(layers)}, "
                f"{first[0].asset}/{first[0].partition} {', '.join(first[1])}: make both with the same layers"
            )
    return first[1]


def _distance(real: Moments, generated: Moments) -> dict[str, Any]:
    warning = frechet_warning(real, generated)
    return {"frechet_distance": frechet_distance(real, generated)} | ({"warning": warning} if warning else {})


def _moments(parts: list[Artifact], layer: str) -> Moments:
    return merge(Moments.from_arrays(part.open().moments(), layer) for part in parts)
