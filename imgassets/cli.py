"""imgassets: what Dagster's own command line lacks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from imgassets import cli_ct
from imgassets.errors import BadInput, ImgassetsError


class _Group(click.Group):
    """Errors of ours are one line for a person; every other is a traceback for us."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImgassetsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imgassets")
def main() -> None:
    """From raw image and CT archives to training-ready files.

    \b
    imgassets sample-data                             small raw inputs to try everything on
    imgassets backfill '*' --missing                  make all that is not there yet
    imgassets inspect train_data_batch_1.npz          what is in a raw file
    imgassets view imagenet64/csv_sample sds          finished files in one folder
    """
    from imgassets.resources import dagster_home

    os.environ.setdefault("DAGSTER_HOME", str(dagster_home().absolute()))


@main.command("sample-data")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--dataset", multiple=True, help="Only this dataset's inputs; may be repeated.")
def sample_data(folder: Path | None, dataset: tuple[str, ...]) -> None:
    """Write small, licence-free raw inputs to FOLDER (default: $IMGASSETS_RAW, else $DAGSTER_HOME/raw).

    \b
    Example:
      imgassets sample-data /tmp/raw && export IMGASSETS_RAW=/tmp/raw
    """
    from imgassets.resources import Storage
    from imgassets.sample_data import WRITERS

    folder = folder or Storage().raw_root
    unknown = set(dataset) - set(WRITERS)
    if unknown:
        raise BadInput(f"There is no sample data for {sorted(unknown)[0]!r}: there is for {', '.join(WRITERS)}.")
    for name in dataset or WRITERS:
        if (folder / name).exists():
            click.echo(f"{folder / name} is there already, left as it is")
        else:
            WRITERS[name](folder)
            click.echo(f"{folder / name} written")


@main.command()
@click.argument("selection")
@click.option("--partitions", metavar="A..B", help="Only these, in the order of the partitions, both ends included.")
@click.option("--missing", "only_missing", is_flag=True, help="Only what is not in the store, or not recorded.")
@click.option("--force", is_flag=True, help="Build again, also what is proven to be there and unchanged.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Run configuration; may be repeated.")
@click.option("--verbose", "-v", is_flag=True, help="Print the runs' log lines.")
def backfill(
    selection: str, partitions: str | None, only_missing: bool, force: bool, settings: tuple[str, ...], verbose: bool
) -> None:
    """Make many partitions of the assets in SELECTION, upstream first, in few runs. '*' selects everything.

    Runs are recorded in $DAGSTER_HOME and show in the UI. Exits with 1 if a partition could not be made; all others
    are made nevertheless.

    \b
    Examples:
      imgassets backfill imagenet64/npz_index --missing
      imgassets backfill imagenet64/arrays --partitions train_data_batch_2..train_data_batch_5
      imgassets backfill '+imagenet64/csv_sample' --set csv_size_gb=0.5
    """
    import dagster as dg
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from imgassets.operations import backfill as operation
    from imgassets.operations.graph import parse_range, select

    config = _settings(settings) | ({"force": True} if force else {})
    assets = select(selection)
    settable = [asset for asset in assets if operation.accepts(asset, config)]
    if config and not settable:
        raise BadInput(f"No asset of {selection!r} has all of the settings {', '.join(config)}.")
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    failed = False
    with dg.DagsterInstance.get() as instance, Progress(*columns, console=console) as bars:
        for asset in assets:
            keys = asset.keys(instance)
            if partitions:
                keys = parse_range(partitions, keys)
            if only_missing:
                keys = [key for key in operation.missing(asset, instance) if key in keys]
            bar = bars.add_task(asset.name, total=len(keys))
            outcome = operation.backfill(
                asset,
                keys,
                instance,
                config=config if asset in settable else None,
                log_level="INFO" if verbose else "CRITICAL",
                observe=lambda _, bar=bar: bars.advance(bar),  # type: ignore[misc]
            )
            for name, reason in (outcome.failed | outcome.failed_checks).items():
                console.print(f"  {name}: {reason}", style="red", highlight=False, markup=False, soft_wrap=True)
            summary = f"  {len(outcome.built)} built, {len(outcome.unchanged)} unchanged, {len(outcome.failed)} failed"
            console.print(f"{asset.name}\n{summary}", highlight=False)
            failed |= bool(outcome.failed)
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--resolution", default=64, show_default=True, help="Height and width of the images.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def inspect(path: Path, resolution: int, as_json: bool) -> None:
    """Report what is in an NPZ file of downsampled ImageNet, in every one of a folder, or in a folder of CT shards.

    \b
    Examples:
      imgassets inspect dagster_home/store/ct_rate/shards/train
      imgassets inspect imagenet_data/train_data_batch_1.npz
      imgassets inspect imagenet_data --json
    """
    from imgassets.operations.ct_compare import describe_split
    from imgassets.operations.inspect import describe, reports

    if (path / "manifest.json").is_file():
        click.echo((path / "manifest.json").read_text(encoding="utf-8") if as_json else describe_split(path))
        return
    found = list(reports(path, resolution))
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(describe(report) for report in found))
    sys.exit(1 if any("error" in report for report in found) else 0)


@main.command()
@click.argument("key")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--partitions", metavar="A..B", help="Only these; default: all that are finished.")
def view(key: str, folder: Path, partitions: str | None) -> None:
    """Link the finished files of asset KEY into FOLDER, as the guides lay them out.

    \b
    Example:
      imgassets view imagenet64/csv_sample systemds_ready
    """
    import dagster as dg

    from imgassets.operations.graph import parse_range, select_one
    from imgassets.operations.view import view as link

    asset = select_one(key)
    with dg.DagsterInstance.get() as instance:
        keys = asset.keys(instance)
    for path in link(asset, parse_range(partitions, keys) if partitions else keys, folder):
        click.echo(path)


for _command in cli_ct.COMMANDS:
    main.add_command(_command)


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadInput(f"--set {pair!r} is no NAME=VALUE, such as csv_size_gb=0.5.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings
