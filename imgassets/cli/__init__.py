"""imgassets: what Dagster's own command line lacks."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from imgassets import interrupts
from imgassets.cli import care, explain, look, make, serve, sources, start
from imgassets.errors import ImgassetsError, Misunderstood, one_line
from imgassets.projects import VARIABLE
from imgassets.spelling import did_you_mean


def _choose(ctx: click.Context, parameter: click.Parameter, folder: str | None) -> None:
    if folder is not None:
        os.environ[VARIABLE] = os.path.abspath(os.path.expanduser(folder))


PROJECT = click.Option(
    ["--project"],
    metavar="DIR",
    expose_value=False,
    is_eager=True,
    callback=_choose,
    help="Folder of the project, or a folder in it. Default: $IMGASSETS_PROJECT, the nearest folder upwards, the demo.",
)


WHOLE = 200
"""Characters of a help's first sentence: all of it."""


class _Misunderstood(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Errors of ours are one line for a person; every other is a traceback for us."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.commands) or f" There are {', '.join(self.commands)}."
            raise _Misunderstood(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.get_short_help_str(WHOLE)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            again = shlex.join(["imgassets", *sys.argv[1:]])
            click.echo(f"Interrupted; what is finished stays. To go on: {again}", err=True)
            ctx.exit(interrupts.CODE)
        except Misunderstood as error:
            raise _Misunderstood(str(error)) from error
        except ImgassetsError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:  # a folder that cannot be written, a disk that cannot be read
            if error.filename is None:
                raise
            raise click.ClickException(one_line(f"{error.filename}: {error.strerror}.")) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="imgassets")
def main() -> None:
    """From raw image and CT archives to training-ready files.

    \b
    imgassets init DIR                                a project: a folder for datasets of your own
    imgassets inspect PATH                            what it is; `imgassets add PATH` makes a dataset of it
    imgassets sample-data                             small raw inputs to try everything on
    imgassets plan '*'                                what a backfill would do, and what it would cost
    imgassets backfill '*' --missing                  make all that is not there yet
    imgassets status                                  how far everything is
    imgassets ui                                      the graph in the browser
    imgassets help                                    all commands, components and pages
    imgassets settings                                what is set, and where

    SELECTION is Dagster's: 'imagenet64/arrays', '+imagenet64/csv_sample' with all it is made from, 'group:imagenet64',
    '*'. Exit codes: 0 all is well, 1 something failed or was found, 2 the command was not understood, 130 it was
    interrupted.
    """
    # what is imported stays to the end: to look through it for garbage at every turn takes a tenth of a short command
    gc.set_threshold(50_000)


def _stoppable(work: Callable[..., Any]) -> Callable[..., Any]:
    """A command's work, which signals end in order."""

    @wraps(work)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        with interrupts.watched():
            return work(*arguments, **named)

    return wrapped


def _in_project(work: Callable[..., Any]) -> Callable[..., Any]:
    """A command's work, in the home of the current project."""

    @wraps(work)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        from imgassets.environment import enter

        if elsewhere := enter():
            click.echo(elsewhere, err=True)
        return work(*arguments, **named)

    return wrapped


for _command in (*make.COMMANDS, *look.COMMANDS, *care.COMMANDS):
    assert _command.callback
    _command.callback = _stoppable(_command.callback)
for _command in (*make.COMMANDS, *look.COMMANDS, *care.COMMANDS, *serve.COMMANDS):
    assert _command.callback
    _command.callback = _in_project(_command.callback)
    _command.params.append(PROJECT)
    main.add_command(_command)
main.params.append(PROJECT)
for _command in (*start.COMMANDS, *sources.COMMANDS, *explain.COMMANDS):
    main.add_command(_command)
for _command in (*sources.COMMANDS, explain.settings):
    _command.params.append(PROJECT)
