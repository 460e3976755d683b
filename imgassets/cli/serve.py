"""The browser's side: webserver and daemon, guarded."""

from __future__ import annotations

import click


@click.command()
@click.option("--port", default=3000, show_default=True, type=click.IntRange(0, 65535), help="Port on 127.0.0.1.")
@click.option("--read-only", is_flag=True, help="Nothing can be started, changed or deleted; no daemon.")
@click.option("--host", "hosts", multiple=True, help="Further host name to answer to, as a proxy sends it.")
def ui(port: int, read_only: bool, hosts: tuple[str, ...]) -> None:
    """Open Dagster's UI on 127.0.0.1, with the daemon that runs backfills, schedules and sensors.

    A guard stands before it: Dagster itself would let any web page that is open in your browser launch runs and wipe
    records. To reach it from elsewhere, use an SSH tunnel, or a proxy that asks for a password.

    \b
    Examples:
      imgassets ui
      imgassets ui --read-only --port 3001
      ssh -L 3000:127.0.0.1:3000 node7
    """
    from imgassets.operations.ui import serve

    serve(port, read_only=read_only, hosts=hosts)


COMMANDS = (ui,)
