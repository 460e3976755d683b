"""Commands that look after the vault."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from imgassets.cli import completing
from imgassets.cli.common import as_json, bar, emit, home, partitions_option, size, table, wanted

SOME = 5
"""Names in a line that only counts."""


@click.command()
@click.argument("selection", default="*", shell_complete=completing.selections)
@partitions_option
@click.option("--checksums-only", is_flag=True, help="Leave the assets' own checks out.")
@click.option(
    "--against",
    metavar="FOLDER|PATTERN",
    help="SELECTION is a folder of CT shards, to be compared with these source volumes or tar files.",
)
@click.option("--num-samples", default=10, show_default=True, type=click.IntRange(1), help="Compared, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@as_json
def verify(
    selection: str,
    partitions: str | None,
    checksums_only: bool,
    against: str | None,
    num_samples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Read every byte of SELECTION again, whatever is remembered of it, and run every check of every partition.

    The checks of a dataset that has the same samples in several formats prove that they are equal. What is found is
    noted for `imgassets repair`. Exits with 1 if anything was found.

    With --against, samples of CT shards are compared with the volumes they were made from, which a plain program in
    float64 preprocesses again at 200,000 positions each, or with shards of the same grid, voxel by voxel; a sample that
    differs by more than float16 explains, or is missing, is a finding.

    \b
    Examples:
      imgassets verify
      imgassets verify imagenet64/arrays --checksums-only --json
      imgassets verify dagster_home/store/ct_rate/shards/valid --against /data/CT-RATE/dataset/valid_fixed
      imgassets verify valid_preprocessed_webdataset --against 'original/shard-{000000..000023}.tar' --num-samples 50
    """
    if against is not None:
        _compare(selection, against, num_samples, seed, as_json)
    from imgassets.operations.verify import verify as operation

    with home() as instance:
        found = wanted(selection, partitions, instance)
        total = sum(len(keys) for _, keys in found)
        with bar(total, hidden=as_json) as shown:
            result = operation(found, instance, checks=not checksums_only, observe=lambda _: shown.update(1))
    if as_json:
        emit(asdict(result))
    else:
        for finding in result.findings:
            click.echo(f"{finding.asset}/{finding.partition}: {finding.kind}: {finding.problem}")
        click.echo(f"{result.partitions} partitions, {size(result.bytes)} read, {len(result.findings)} findings")
    sys.exit(1 if result.findings else 0)


def _compare(folder: str, against: str, num_samples: int, seed: int, as_json: bool) -> NoReturn:
    from imgassets.operations.ct_compare import compare

    found = []
    for one in compare(Path(folder), against, num_samples, seed):
        found.append(one)
        if not as_json:
            click.echo(one.describe())
    if as_json:
        emit([asdict(one) | {"passed": one.passed} for one in found])
    elif all(one.passed for one in found):
        click.echo("All samples passed verification!")
    sys.exit(0 if all(one.passed for one in found) else 1)


@click.command()
@click.argument("selection", default="*", shell_complete=completing.selections)
@as_json
def repair(selection: str, as_json: bool) -> None:
    """Make again exactly what `imgassets verify` found lost or damaged in SELECTION, upstream first.

    Each partition is made with the settings it was made with. Exits with 1 if one could not be made.

    \b
    Example:
      imgassets verify || imgassets repair
    """
    from imgassets.operations.selection import select
    from imgassets.operations.verify import repair as operation

    outcomes = []
    with home() as instance:
        for outcome in operation(select(selection), instance):
            outcomes.append(outcome)
            if not as_json:
                for key in outcome.built:
                    click.echo(f"{outcome.asset}/{key} made again")
                for key in outcome.unchanged:
                    click.echo(f"{outcome.asset}/{key} is whole by now")
                for key, reason in outcome.failed.items():
                    click.echo(f"{outcome.asset}/{key}: {reason}", err=True)
    if as_json:
        emit([asdict(outcome) for outcome in outcomes])
    elif not outcomes:
        click.echo("Nothing to repair: `imgassets verify` found nothing, or was not run.")
    sys.exit(1 if any(outcome.failed for outcome in outcomes) else 0)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def gc(dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove from the vault what no dataset declares any more, and what dead writers left.

    What a declared partition is made from stays, declared itself or not; so does every file that is no artifact, and
    all that is not recorded as this project's (.imgassets/owners in the vault).

    \b
    Examples:
      imgassets gc --dry-run
      imgassets gc --yes --json
    """
    from imgassets.operations.gc import garbage, remove
    from imgassets.operations.selection import graph

    if as_json and not (dry_run or yes):
        raise click.UsageError("--json asks nothing: add --dry-run or --yes.")
    with home() as instance:
        everything = garbage(graph(), instance)
    found = [item for item in everything if item.ours]
    if left := [item.name for item in everything if not item.ours]:
        click.echo(
            f"{len(left)} of others, or of nobody who is known, left: "
            + ", ".join(left[:SOME])
            + ", …" * (len(left) > SOME),
            err=True,
        )
    rows = [(size(item.bytes), item.name, item.reason) for item in found]
    total = sum(item.bytes for item in found)
    if not as_json:
        if rows:
            click.echo(table(("size", "path", "why"), rows))
        click.echo(f"{len(found)} things, {size(total)}")
    gone = []
    if found and not dry_run and (yes or click.confirm("Remove them?")):
        gone = list(remove(found))
    if as_json:
        emit(
            [
                {"path": str(item.path), "bytes": item.bytes, "reason": item.reason, "removed": item in gone}
                for item in found
            ]
        )
    elif gone:
        click.echo(f"{len(gone)} removed, {size(sum(item.bytes for item in gone))} freed")
    sys.exit(0 if dry_run or len(gone) == len(found) else 1)


COMMANDS = (verify, repair, gc)
