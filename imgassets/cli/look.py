"""Commands that tell what is there."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click

from imgassets.cli import completing
from imgassets.cli.common import as_json, emit, home, size, table

if TYPE_CHECKING:
    from imgassets.operations.passport import Passport
    from imgassets.operations.states import PartitionState
    from imgassets.operations.trace import Ancestor

SHOWN = 3
"""Reasons told of each asset."""


@click.command()
@click.argument("selection", default="*", shell_complete=completing.selections)
@click.option("--partitions", "each", is_flag=True, help="List every partition with its state and the reason.")
@as_json
def status(selection: str, each: bool, as_json: bool) -> None:
    """Count the partitions of each asset: current, stale, unknown, missing, failed.

    Stale is what would come out differently now, be it that an input, a setting or the code has changed, and all that
    is made from it. Unknown is what was made from files that were copied, moved or touched since they were read: a
    backfill reads them once, and keeps what is the same. Unchecked is what was made in a run that did not come to its
    checks. Exits with 1 if anything failed when it was last tried.

    \b
    Examples:
      imgassets status
      imgassets status imagenet64/arrays --partitions
      imgassets status group:imagenet64 --json
    """
    from imgassets.operations.selection import select
    from imgassets.operations.states import partitions
    from imgassets.operations.states import status as operation

    if each:
        with home() as instance:
            _each(list(partitions(select(selection), instance)), as_json)
    with home() as instance:
        found = operation(select(selection), instance)
    if as_json:
        emit([asdict(one) for one in found])
    else:
        rows = [
            (
                one.asset,
                *map(str, (one.partitions, one.current, one.stale, one.unread, one.missing, one.failed)),
                size(one.bytes),
            )
            for one in found
        ]
        click.echo(table(("asset", "partitions", "current", "stale", "unknown", "missing", "failed", "size"), rows))
        for one in found:
            for key, reason in list(one.reasons.items())[:SHOWN]:
                click.echo(f"  {one.asset}/{key}: {reason}")
            if len(one.reasons) > SHOWN:
                click.echo(f"  … and {len(one.reasons) - SHOWN} more of {one.asset}: see --json")
            if one.unread:
                click.echo(f"  {one.asset}: {one.unread} unknown, {size(one.unread_bytes)} to read once")
            if one.unchecked:
                click.echo(f"  {one.asset}: {one.unchecked} unchecked; `imgassets backfill {one.asset}` checks them")
    sys.exit(1 if any(one.failed for one in found) else 0)


def _each(found: list[PartitionState], as_json: bool) -> NoReturn:
    if as_json:
        emit([asdict(one) for one in found])
    else:
        rows = [(f"{one.asset}/{one.partition}", one.state, size(one.bytes), one.reason) for one in found]
        click.echo(table(("partition", "state", "size", "why"), rows))
    sys.exit(1 if any(one.state == "failed" for one in found) else 0)


@click.command()
@click.argument("partition", metavar="KEY/PARTITION", shell_complete=completing.partitions)
@click.argument("index", type=int, required=False)
@as_json
def trace(partition: str, index: int | None, as_json: bool) -> None:
    """Tell what a partition was made from, down to the raw files: checksums, settings, format and code version.

    With INDEX, tell of one of its rows instead, counted from 0: the raw file it comes from, member, byte offset and
    SHA-256, and its twins, the rows of all other artifacts that hold the same sample. Equal bytes have equal SHA-256.

    Exits with 1 if anything the partition was made from has changed since, or is gone.

    \b
    Examples:
      imgassets trace imagenet64/csv_sample/train
      imgassets trace imagenet64/memmap_store/train 30017
      imgassets trace ilsvrc2012/tfrecords/train-00003-of-01024 5 --json
    """
    from imgassets.operations.passport import passport
    from imgassets.operations.selection import graph
    from imgassets.operations.trace import trace as operation

    found = list(operation(graph(), partition))
    if index is not None:
        with home() as instance:
            known = passport(graph(), instance, partition, index)
        if as_json:
            emit(known.document() | {"changed": [one.name for one in found if one.changed]})
        else:
            click.echo(_passport(known))
            for one in found:
                if one.changed:
                    click.echo(f"{one.name} has CHANGED SINCE {partition} was made")
    elif as_json:
        emit([_ancestor(one) for one in found])
    else:
        for one in found:
            line = f"{'  ' * one.depth}{one.name}  {one.checksum}"
            if one.manifest:
                recipe = one.manifest.recipe
                settings = "".join(f", {name} {value}" for name, value in one.manifest.settings.items())
                line += f"  {recipe.format}, code {recipe.code_version}{settings}"
            click.echo(line + ("  CHANGED SINCE" if one.changed else ""))
    sys.exit(1 if any(one.changed for one in found) else 0)


def _ancestor(one: Ancestor) -> dict[str, Any]:
    return {
        "name": one.name,
        "depth": one.depth,
        "checksum": one.checksum,
        "changed": one.changed,
        "recipe": one.manifest.recipe.document if one.manifest else None,
    }


def _passport(known: Passport) -> str:
    manifest = known.row.artifact.manifest
    settings = "".join(f", {name} {value}" for name, value in manifest.settings.items())
    lines = [
        f"{known.row.name} row {known.row.row} is sample {known.sample.number} of {known.sample.series}",
        *(f"  {name:<12} {value}" for name, value in known.row.about.items()),
        f"made by {manifest.recipe.format}, code {manifest.recipe.code_version}{settings}",
    ]
    rows = [("source", "", known.source)] if known.source else []
    rows += [(row.name, str(row.row), row.place) for row in (known.row, *known.twins)]
    cells = [
        (name, row, place.file, place.member, _number(place.offset), _number(place.size), place.sha256)
        for name, row, place in rows
    ]
    lines.append(table(("artifact", "row", "file", "member", "offset", "bytes", "SHA-256"), cells))
    lines += [f"{name} cannot be looked into: {reason}" for name, reason in known.unreadable.items()]
    return "\n".join(lines)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


COMMANDS = (status, trace)
