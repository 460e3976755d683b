"""Commands on what somebody has: what it is, and how a project gets it. None of them needs Dagster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgassets.cli.common import as_json
from imgassets.errors import BadInput, Misunderstood
from imgassets.projects import Project

if TYPE_CHECKING:
    from imgassets.operations.kinds import Recognized


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--resolution", type=int, help="Height and width of the images in NPZ batches; default: what they say.")
@as_json
def inspect(path: Path, resolution: int | None, as_json: bool) -> None:
    """Say what any file, folder, archive or foreign store is, and print the YAML that would declare it as a dataset.

    Of artifacts of the vault, CT shards, NPZ batches (all of their bytes are read), NPY, tar and Parquet files it also
    reports what they hold and what they were made from. Exits with 1 if anything cannot be read.

    \b
    Examples:
      imgassets inspect /data/flowers
      imgassets inspect dagster_home/store/imagenet64/arrays/val_data
      imgassets inspect imagenet_data --json
    """
    from imgassets.operations.recognize import recognize

    if (path / "manifest.json").is_file():
        from imgassets.operations.ct_compare import describe_split

        described = describe_split(path)
        click.echo((path / "manifest.json").read_text(encoding="utf-8") if as_json else described)
        return
    found = recognize(path)
    if found.reported:
        from imgassets.operations.inspect import describe, reports

        told = list(reports(path, resolution or found.resolution or 64))
        click.echo(json.dumps(told, indent=1) if as_json else "\n".join(describe(report) for report in told))
        failed = any("error" in report for report in told)
        if not as_json and found.component:
            click.echo("\n" + _declared(path, found))
        sys.exit(1 if failed else 0)
    if as_json:
        yaml = _yaml(path, found)
        document = {"file": str(path), "what": found.what, "advice": found.advice, "yaml": yaml}
        click.echo(json.dumps([document], indent=1, ensure_ascii=False))
    else:
        click.echo(f"{path}: {found.what}")
        click.echo(_declared(path, found) if found.component else f"  {found.advice}" if found.advice else "", nl=False)
        click.echo()


def _yaml(path: Path, found: Recognized) -> str:
    from imgassets.operations.declare import declaration

    try:
        return declaration(path, found, Project.current()).yaml
    except (BadInput, Misunderstood):
        return ""


def _declared(path: Path, found: Recognized) -> str:
    from imgassets.operations.declare import declaration

    declared = declaration(path, found, Project.current())
    advice = f"# {found.advice}\n" if found.advice else ""
    link = (
        f"# it lies elsewhere than the raw inputs: ln -s {declared.link[1]} {declared.link[0]}\n"
        if declared.link
        else ""
    )
    return f"# defs/{declared.name}/defs.yaml; `imgassets add {path}` writes it\n{advice}{link}{declared.yaml}"


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--name", metavar="NAME", help="Name of the dataset; default: the folder's.")
@click.option("--link", is_flag=True, help="Link it below the raw inputs, if it lies elsewhere.")
def add(path: Path, name: str | None, link: bool) -> None:
    """Write the YAML that declares PATH, as `imgassets inspect` prints it, into the project.

    Nothing is copied. What does not lie below the raw inputs ($IMGASSETS_RAW) needs a link there.

    \b
    Examples:
      imgassets add dagster_home/raw/folders/cats
      imgassets add /data/flowers --name flowers102 --link
    """
    from imgassets.operations.declare import add as operation
    from imgassets.operations.declare import declaration
    from imgassets.operations.recognize import recognize

    project = Project.current()
    declared = declaration(path, recognize(path), project, name)
    for written in operation(declared, project, link):
        click.echo(written)
    click.echo(
        f"\nimgassets plan group:{declared.name}      # then `imgassets backfill group:{declared.name}`", err=True
    )


COMMANDS = (inspect, add)
