"""What commands share: arguments, selections, output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from imgassets.cli import completing
from imgassets.errors import Misunderstood
from imgassets.spelling import did_you_mean

if TYPE_CHECKING:
    import dagster as dg

    from imgassets.planning.graph import Asset

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
partitions_option = click.option(
    "--partitions",
    metavar="A..B",
    shell_complete=completing.ranges,
    help="Only these, in the order of the partitions, both ends included.",
)
settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    shell_complete=completing.pairs,
    help="Run configuration; may be repeated.",
)


@contextmanager
def home() -> Iterator[dg.DagsterInstance]:
    """Dagster's records, in which the runs that a kill or a power cut left at work have ended.

    A database that is new has been told of the partitions that it cannot know.
    """
    from imgassets.operations.launcher import end_gone
    from imgassets.operations.records import records
    from imgassets.operations.selection import graph, register_again

    with records() as instance:
        with suppress(Exception):  # who may only look; a database that is broken is told of below
            end_gone(instance)
            register_again(graph(), instance)
        yield instance


reset_option = click.option(
    "--reset",
    multiple=True,
    metavar="NAME",
    shell_complete=completing.names,
    help="Forget this setting of earlier --set; may be repeated.",
)


def bar(length: int, *, hidden: bool = False) -> Any:
    """A bar on a terminal, with the time that is left; nothing elsewhere."""
    return click.progressbar(length=length, file=sys.stderr, hidden=hidden or not sys.stderr.isatty())


def emit(document: Any) -> None:
    """Print JSON."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def wanted(selection: str, partitions: str | None, instance: dg.DagsterInstance) -> list[tuple[Asset, Sequence[str]]]:
    """The selected assets, upstream first, each with its partitions.

    Raises:
        Misunderstood: nothing is selected, or there is no such partition.
    """
    from imgassets.operations.selection import parse_range, select

    found: list[tuple[Asset, Sequence[str]]] = []
    for asset in select(selection):
        keys = asset.keys(instance)
        found.append((asset, parse_range(partitions, keys) if partitions else keys))
    return found


def parse_settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`NAME=VALUE` pairs; a value is JSON where it can be, else text.

    Raises:
        Misunderstood: one has no equals sign.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Misunderstood(f"--set {pair!r} is no NAME=VALUE, such as csv_size_gb=0.5.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def settable(assets: Sequence[Asset], config: dict[str, Any], selection: str, reset: Sequence[str] = ()) -> list[Asset]:
    """The assets whose run configuration has all of these settings.

    Raises:
        Misunderstood: there are settings, and no asset has them; one is of another type, or out of range.
    """
    from imgassets.operations.backfill import accepts, settings_of

    names = dict.fromkeys([*config, *reset])
    found = [asset for asset in assets if accepts(asset, names)]
    if names and not found:
        known = sorted(set[str]().union(*(settings_of(asset) for asset in assets)))
        if written := [place for name in names for place in places_of(name, assets)]:
            raise Misunderstood(f"{', '.join(names)}: runs are not asked for that, it is {written[0]}: write it there.")
        hint = next(filter(None, (did_you_mean(name, known) for name in names if name not in known)), "")
        listed = f" There are {', '.join(known)}." if known else ""
        raise Misunderstood(f"No asset of {selection!r} has all of the settings {', '.join(names)}.{hint or listed}")
    for asset in found if config else ():
        asset.settings(config)
    return found


def places_of(name: str, assets: Sequence[Asset]) -> list[str]:
    """Attribute and file of the selected datasets that have a setting of this name in their YAML alone."""
    from imgassets.declared import datasets
    from imgassets.projects import Project
    from imgassets.settings import OURS, reference

    found = []
    for dataset in datasets(Project.current()):
        known = reference().get(dataset.kind.removeprefix(OURS), {"attributes": (), "run": ()})
        names = (one["name"] for one in known["attributes"] if one["name"] not in known["run"])
        full = [one for one in names if name in (one, one.rpartition(".")[2])]
        if full and any(asset.key.path[0] == dataset.name for asset in assets):
            found.append(f"`{full[0]}` of {dataset.file}")
    return found


def size(nbytes: int | None) -> str:
    """Bytes for a person; `?` where they are not known."""
    if nbytes is None:
        return "?"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes} B"


def duration(seconds: float | None) -> str:
    """Seconds for a person; `?` where they are not known."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as they need to be, without borders: for eyes, grep and awk."""
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    numeric = [all(not row[i] or row[i][0].isdigit() or row[i] == "?" for row in rows) for i in range(len(titles))]
    lines = []
    for row in [titles, *rows]:
        cells = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
