"""The engine that a setting names."""

from __future__ import annotations

from imgassets.engines.local import InProcess
from imgassets.engines.work import Engine
from imgassets.errors import BadInput
from imgassets.granted import granted_cpus

VARIABLE = "IMGASSETS_ENGINE"


def chosen(text: str, concurrent_runs: int = 1) -> Engine:
    """`local`, `processes` (as many as there are processors for each of `concurrent_runs`) or `processes:N`.

    Raises:
        BadInput: it is none of these.
    """
    kind, colon, count = text.partition(":")
    if text == "local":
        return InProcess()
    if kind == "processes" and (not colon or (count.isascii() and count.isdigit() and int(count))):
        from imgassets.engines.processes import Processes

        return Processes(int(count) if colon else granted_cpus() // concurrent_runs)
    raise BadInput(f"The engine is {text!r} ({VARIABLE}, --engine): expected local, processes or processes:4.")
