"""Beginning: a project of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from imgassets.cli import completing


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--with",
    "datasets",
    metavar="NAME,…",
    default="",
    shell_complete=completing.bundled,
    help="Bundled datasets to begin with.",
)
def init(folder: Path, datasets: str) -> None:
    """Write a project: a folder for datasets of your own, to keep in version control.

    Of a project that is there already what is missing is written, such as `.env` in a fresh clone; nothing is replaced.

    \b
    Examples:
      imgassets init photos
      imgassets init research --with imagenet64,ct_rate
    """
    from imgassets.operations.scaffold import scaffold

    written = scaffold(folder, [name for name in datasets.split(",") if name])
    for path in written:
        click.echo(path)
    if not written:
        click.echo(f"{folder} has all this already: nothing was written.")
    click.echo(f"\ncd {folder}\nimgassets status      # and `imgassets backfill '*'`, `imgassets ui`", err=True)


COMMANDS = (init,)
