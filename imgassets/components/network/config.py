"""What a run of the network can be told, and what of it recipes name."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from imgassets.classes import imagenet_classes
from imgassets.components.declarations import SEEDS
from imgassets.errors import BadInput
from imgassets.io.base import BuildConfig
from imgassets.models.config import NetworkConfig
from imgassets.models.selection import Selection
from imgassets.models.settings import Compute, Extraction

Describe = dg.Resolver.default


class NetworkConfigOverrides(BuildConfig):
    """Run configuration of everything the network computes; what is left out is as the YAML says."""

    conditioning_sigma: float | None = Field(default=None, description="Noise level the network is told, > 0.")
    input_mode: str | None = Field(default=None, description="dmd2, noised or clean.")
    batch_size: int | None = Field(default=None, description="Samples per file and per forward pass.")
    seed: int | None = Field(default=None, ge=0, lt=SEEDS, description="Seed of selection and noise.")
    dtype: str | None = Field(default=None, description="float32, tf32 or bf16.")
    num_samples: int | None = Field(default=None, description="Samples of the whole split; default: every row.")
    classes: list[str] | None = Field(default=None, description="Only these classes: class_ids or synsets.")
    balanced: bool | None = Field(default=None, description="As many samples of each class as of any other.")
    percentile: list[float] | None = Field(default=None, description="Lower and upper percentile of the score.")


class ActivationConfig(NetworkConfigOverrides):
    """Run configuration of `activations` and `generated`."""

    layers: list[str] | None = Field(default=None, description="Layers by the DMD2 visualizer's names.")
    storage: str | None = Field(default=None, description="full or pooled.")


class ReconstructionConfig(NetworkConfigOverrides):
    """Run configuration of `reconstructions`."""

    single_files: bool | None = Field(default=None, description="A PNG file for each image instead of tars.")


@dataclass
class ScoreColumn(dg.Resolvable):
    """A numeric column of Parquet files keyed by `global_index`, such as an earlier run's own statistics."""

    files: Annotated[str, Describe(description="Glob below $IMGASSETS_STORE.")]
    column: Annotated[str, Describe(description="Name of the column, e.g. midblock_norm.")]


def class_id(name: str) -> int:
    """The class_id of a number 0 to 999 or a synset; `BadInput` for anything else."""
    classes = imagenet_classes()
    if str(name).isdecimal() and int(name) < len(classes.synsets):
        return int(name)
    try:
        return classes.class_id(str(name))
    except KeyError:
        raise BadInput(f"classes: {name!r} is neither a class_id 0 to 999 nor one of the 1000 synsets") from None


@dataclass(frozen=True)
class Score:
    """A numeric column of Parquet files with a column `global_index`."""

    files: str
    """Glob below the vault."""
    column: str


def output_settings(
    asked: Extraction = Extraction(),  # noqa: B008  (a value)
    compute: Compute = Compute(),  # noqa: B008
    network: NetworkConfig = NetworkConfig(),  # noqa: B008
    weights: str = "",
) -> dict[str, Any]:
    """What decides any output, as JSON values."""
    names = ("input_mode", "seed", "batch_size", "class_conditioning")
    shared = {"conditioning_sigma": float(asked.conditioning_sigma)} | {name: getattr(asked, name) for name in names}
    return shared | {
        "dtype": compute.dtype,
        "compile": compute.compile,
        "network": network.as_dict(),
        "weights": weights,
    }


def kept_settings(asked: Extraction, layers: Sequence[str]) -> dict[str, Any]:
    """What decides which activations are kept and how, as JSON values."""
    kept = {"layers": list(layers), "storage": asked.storage, "storage_dtype": asked.storage_dtype}
    return kept | {"compressed": asked.compressed}


def selection_rule(selection: Selection, score: Score | None) -> dict[str, Any]:
    """What decides which samples are taken, as JSON values."""
    rule = asdict(selection) | {"score": asdict(score) if score else None}
    return rule | {name: list(value) for name, value in rule.items() if isinstance(value, tuple)}
