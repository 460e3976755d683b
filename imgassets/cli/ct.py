"""Commands for CT volumes."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--against",
    required=True,
    metavar="FOLDER|PATTERN",
    help="Source volumes, or tar files: shard-{000000..000023}.tar.",
)
@click.option("--num-samples", default=10, show_default=True, type=click.IntRange(1), help="Samples, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
def compare(folder: Path, against: str, num_samples: int, seed: int) -> None:
    """Compare samples of the CT shards in FOLDER with the volumes they were made from, or with other shards.

    Source volumes are preprocessed again in float64, by a plain program that shares nothing with the fast one, at
    200,000 positions each; shards of the same grid are compared voxel by voxel. Exits with 1 if a sample differs by
    more than float16 explains, or is not found.

    \b
    Examples:
      imgassets compare dagster_home/store/ct_rate/shards/valid --against /data/CT-RATE/dataset/valid_fixed
      imgassets compare valid_preprocessed_webdataset --against 'original/shard-{000000..000023}.tar' --num-samples 50
    """
    from imgassets.operations.ct_compare import compare as operation

    failed = 0
    for found in operation(folder, against, num_samples, seed):
        click.echo(found.describe())
        failed += not found.passed
    sys.exit(1 if failed else 0)


COMMANDS = (compare,)
