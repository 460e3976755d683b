"""Commands that make files, and the plan of what they would make."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from imgassets.cli import completing
from imgassets.cli.common import (
    as_json,
    bar,
    duration,
    emit,
    home,
    parse_settings,
    partitions_option,
    reset_option,
    settable,
    settings_option,
    size,
    table,
    wanted,
)
from imgassets.errors import Misunderstood
from imgassets.spelling import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console


@click.command("sample-data")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option(
    "--dataset", multiple=True, shell_complete=completing.bundled, help="Only this dataset's inputs; may be repeated."
)
def sample_data(folder: Path | None, dataset: tuple[str, ...]) -> None:
    """Write small, licence-free raw inputs to FOLDER (default: $IMGASSETS_RAW, else $DAGSTER_HOME/raw).

    \b
    Example:
      imgassets sample-data /tmp/raw && export IMGASSETS_RAW=/tmp/raw
    """
    from imgassets.environment import Storage
    from imgassets.sample_data import WRITERS

    folder = folder or Storage().raw_root
    unknown = set(dataset) - set(WRITERS)
    if unknown:
        name = sorted(unknown)[0]
        raise Misunderstood(
            f"There is no sample data for {name!r}: there is for {', '.join(WRITERS)}.{did_you_mean(name, WRITERS)}"
        )
    said = []
    try:
        with bar(len(dataset or WRITERS)) as shown:
            for name in dataset or WRITERS:
                said.append(_sample(folder, name))
                shown.update(1)
    finally:
        for line in said:
            click.echo(line)


def _sample(folder: Path, name: str) -> str:
    """Write one dataset's sample inputs; says what became of it."""
    from imgassets.sample_data import WRITERS

    if (folder / name).exists():
        return f"{folder / name} is there already, left as it is"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".sample-data-", dir=folder) as fresh:  # half of it would pass for all of it
        WRITERS[name](Path(fresh))
        (folder / name).parent.mkdir(exist_ok=True)
        (Path(fresh) / name).rename(folder / name)
    return f"{folder / name} written"


@click.command()
@click.argument("selection", default="*", shell_complete=completing.selections)
@partitions_option
@settings_option
@reset_option
@click.option("--force", is_flag=True, help="As if everything were made again.")
@click.option("--all", "show_all", is_flag=True, help="List partitions that would be left as they are, too.")
@as_json
def plan(
    selection: str,
    partitions: str | None,
    settings: tuple[str, ...],
    reset: tuple[str, ...],
    force: bool,
    show_all: bool,
    as_json: bool,
) -> None:
    """Tell what a backfill of SELECTION would do to each partition, why, and what it would cost. Writes nothing.

    Bytes are told from headers. Time and memory are those of earlier runs; an asset that was never made has none yet.
    Exits with 1 if a partition cannot be made.

    \b
    Examples:
      imgassets plan '+imagenet64/csv_sample'
      imgassets plan imagenet64/csv_sample --set csv_size_gb=4
      imgassets plan '*' --json | jq .totals
    """
    from imgassets.operations.plan import plan as operation
    from imgassets.operations.selection import graph

    config = parse_settings(settings)
    with home() as instance:
        found = wanted(selection, partitions, instance)
        chosen = settable([asset for asset, _ in found], config, selection, reset)
        config |= {"reset": list(reset)} if reset else {}
        with bar(sum(len(keys) for _, keys in found), hidden=as_json) as shown:
            made = operation(
                graph(),
                found,
                instance,
                config={asset.key: config for asset in chosen},
                force=force,
                observe=lambda _: shown.update(1),
            )
    totals = made.totals
    if as_json:
        emit(made.document())
    else:
        rows = [
            (step.verdict, f"{step.asset}/{step.partition}", size(step.read), size(step.write), step.reason)
            for step in made.steps
            if show_all or step.verdict != "keep"
        ]
        if rows:
            click.echo(table(("", "partition", "read", "write", "why"), rows))
        click.echo(
            f"{totals['build']} to build, {totals['keep']} unchanged, "
            + (f"{totals['unread']} unknown until their inputs are read, " if totals["unread"] else "")
            + f"{totals['cannot']} cannot be made; "
            f"read {size(totals['read'])}, write {size(totals['write'])}, disk {size(totals['peak_disk'])} more, "
            f"memory {size(totals['memory'])}, {duration(totals['seconds'])}"
            + (f"; the size of {totals['unknown']} partitions is not known yet" if totals["unknown"] else "")
        )
    sys.exit(1 if totals["cannot"] else 0)


@click.command()
@click.argument("selection", shell_complete=completing.selections)
@partitions_option
@click.option("--missing", is_flag=True, help="Only what is not in the vault, not recorded or not checked.")
@click.option("--failed", is_flag=True, help="Only what failed when it was last tried, or was left unchecked then.")
@click.option("--stale", is_flag=True, help="Only what would come out differently now: other inputs, settings, code.")
@click.option("--force", is_flag=True, help="Build again, also what is proven to be there and unchanged.")
@settings_option
@reset_option
@click.option("--engine", metavar="ENGINE", help="Who makes them: local, processes or processes:N.")
@click.option("--verbose", "-v", is_flag=True, help="Print the runs' log lines.")
@as_json
def backfill(
    selection: str,
    partitions: str | None,
    missing: bool,
    failed: bool,
    stale: bool,
    force: bool,
    settings: tuple[str, ...],
    reset: tuple[str, ...],
    engine: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Make many partitions of the assets in SELECTION, upstream first, in few runs. '*' selects everything.

    Without --missing, --failed or --stale (which may be combined) all partitions are looked at; what is proven to be
    unchanged is left as it is. Runs are recorded in $DAGSTER_HOME and show in the UI. Exits with 1 if a partition could
    not be made; all others are made nevertheless. What --set has changed is remembered with what was made, until the
    dataset's YAML says something else or --reset forgets it. Ctrl-C takes back what is in work and begins nothing else.

    \b
    Examples:
      imgassets backfill imagenet64/npz_index --missing
      imgassets backfill '*' --failed --stale
      imgassets backfill imagenet64/arrays --partitions train_data_batch_2..train_data_batch_5
      imgassets backfill '+imagenet64/csv_sample' --set csv_size_gb=0.5
      imgassets backfill imagenet64/csv_sample --reset csv_size_gb
      imgassets backfill ilsvrc2012/tfrecords --engine processes:8
    """
    from imgassets.cli.bars import Bars, console
    from imgassets.engines.choice import chosen as check_engine
    from imgassets.operations import backfill as operation
    from imgassets.operations import states

    given = {states.missing: missing, states.failed: failed, states.unchecked: missing or failed, states.stale: stale}
    which = [state for state, asked in given.items() if asked]
    config = parse_settings(settings) | ({"force": True} if force else {})
    if engine is not None:
        check_engine(engine)
    outcomes, stopped = [], None
    with home() as instance, console() as terminal:
        found = wanted(selection, partitions, instance)
        chosen = settable([asset for asset, _ in found], config, selection, reset)
        config |= {"reset": list(reset)} if reset else {}
        with nullcontext() if as_json else Bars(terminal) as bars:
            for asset, listed in found:
                # an index made a moment ago may have registered partitions
                keys = listed = listed if partitions else asset.keys(instance)
                if which:  # asked when the assets before have been made
                    those = {key for state in which for key in state(asset, instance)}
                    keys = [key for key in listed if key in those]
                task = bars.begin(asset.name, len(keys)) if bars else None
                if bars:
                    _say(asset.io_manager.words_before(asset.key, listed), terminal)
                try:
                    outcome = operation.backfill(
                        asset,
                        keys,
                        instance,
                        config=config if asset in chosen else None,
                        engine=engine,
                        log_level="INFO" if verbose else "CRITICAL",
                        observe=lambda _, task=task: bars.done(task) if bars else None,  # type: ignore[misc]
                    )
                except operation.Stopped as error:
                    stopped, outcome = error, error.outcome
                outcomes.append(outcome)
                if bars and task is not None:
                    bars.end(task)
                    _tell(outcome, terminal)
                    _say(asset.words_after(outcome.built), terminal)
                if stopped:
                    break
            if bars:
                _sum_up(outcomes, terminal)
    if as_json:
        emit([asdict(outcome) for outcome in outcomes])
    if stopped:
        raise stopped
    sys.exit(1 if any(outcome.failed for outcome in outcomes) else 0)


@click.command()
@click.argument("key", shell_complete=completing.assets)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--partitions", metavar="A..B", shell_complete=completing.ranges, help="Only these; default: all that are finished."
)
def view(key: str, folder: Path, partitions: str | None) -> None:
    """Link the finished files of asset KEY into FOLDER, as the guides lay them out.

    \b
    Example:
      imgassets view imagenet64/csv_sample systemds_ready
    """
    from imgassets.operations.selection import parse_range, select_one
    from imgassets.operations.view import view as link

    asset = select_one(key)
    with home() as instance:
        keys = asset.keys(instance)
    for path in link(asset, parse_range(partitions, keys) if partitions else keys, folder):
        click.echo(path)


def _tell(outcome: Any, console: Console) -> None:
    summary = f"  {len(outcome.built)} built, {len(outcome.unchanged)} unchanged, {len(outcome.failed)} failed"
    if outcome.left:
        summary += f", {len(outcome.left)} left"
    if outcome.checked:
        summary += f", {len(outcome.checked)} checked after all"
    console.print(f"{outcome.asset}\n{summary}", highlight=False)
    for name, reason in (outcome.failed | outcome.failed_checks).items():
        console.print(f"  {name}: {reason}", style="red", highlight=False, markup=False, soft_wrap=True)


def _say(lines: list[str], console: Console) -> None:
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _sum_up(outcomes: list[Any], console: Console) -> None:
    """One line for all of several assets."""
    built, unchanged, failed = (
        sum(len(getattr(outcome, name)) for outcome in outcomes) for name in ("built", "unchanged", "failed")
    )
    if len(outcomes) > 1:
        summary = f"{len(outcomes)} assets: {built} built, {unchanged} unchanged, {failed} failed"
        console.print(summary, highlight=False)


COMMANDS = (sample_data, plan, backfill, view)
