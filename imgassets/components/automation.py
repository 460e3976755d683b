"""What a dataset does by itself: look for new inputs, and make what is missing and can be made."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import uuid4

import dagster as dg

from imgassets.io import dagster_private
from imgassets.planning.graph import Asset, Graph, run_tags
from imgassets.planning.prospects import Prospects, Verdict
from imgassets.planning.records import failed, in_progress, missing, stopped
from imgassets.sources.ends import has_end

EVERY = 60
"""Seconds between two looks."""
MOST_RUNS = 4
"""Runs that one look starts: a queue of thousands helps nobody."""
SHORT = 16
"""Digits of a fingerprint that the cursor keeps."""


@dataclass
class Cron(dg.Resolvable):
    """At fixed times."""

    cron: Annotated[str, dg.Resolver.default(description='When, in UTC, e.g. "0 3 * * *": every night at three.')]

    def __post_init__(self) -> None:
        if not dagster_private.is_cron(self.cron):
            raise ValueError(f'automation: {self.cron!r} is no cron expression such as "0 3 * * *"')


Automation = Annotated[
    Literal["manual", "missing"] | Cron,
    dg.Resolver.default(
        description="manual: only what a person starts. missing: what is missing is made as soon as it can be, and new "
        'or changed inputs are indexed. {cron: "0 3 * * *"}: the same, at these times (UTC).'
    ),
]
"""Type of the attribute; its default is `manual`."""


@dataclass
class _Memory:
    """What a sensor remembers from look to look."""

    seen: dict[str, str] = field(default_factory=dict)
    """Fingerprint of each partition made from raw inputs, as they were at the last look."""
    asked: dict[str, str] = field(default_factory=dict)
    """Fingerprint of what was asked for, of partitions that did not come of it."""
    handled: float = 0
    """The last time of the schedule that was handled."""
    waiting: bool = False
    """Whether something was not settled then."""
    look: str = ""
    """Name of the look that comes next: what it asks for, it asks for once, also if two daemons take it."""


def automated(
    name: str, definitions: dg.Definitions, automation: Literal["manual", "missing"] | Cron
) -> dg.Definitions:
    """`definitions` with the sensors of dataset `name`; they are on from the start unless `automation` is manual."""
    keys = [key for asset in definitions.assets or [] if isinstance(asset, dg.AssetsDefinition) for key in asset.keys]
    status = dg.DefaultSensorStatus.STOPPED if automation == "manual" else dg.DefaultSensorStatus.RUNNING
    cron = automation.cron if isinstance(automation, Cron) else None
    when = f"At {cron} (UTC)" if cron else "As soon as it can be made"

    def sensor(suffix: str, description: str, changed: bool) -> dg.SensorDefinition:
        def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
            return _look(context, keys, changed, cron)

        return dg.SensorDefinition(
            name=f"{name}_{suffix}",
            evaluation_fn=look,
            asset_selection=keys,
            minimum_interval_seconds=EVERY,
            default_status=status,
            description=description,
        )

    sensors = [
        sensor("inputs", "New or changed raw inputs are indexed again, once they lie still and can be read.", True),
        sensor("missing", f"{when}, makes what is missing. What failed waits for a change of its inputs.", False),
    ]
    return dg.Definitions.merge(definitions, dg.Definitions(sensors=sensors))


def _look(
    context: dg.SensorEvaluationContext, keys: Sequence[dg.AssetKey], changed: bool, cron: str | None
) -> dg.SensorResult:
    memory = _Memory(**json.loads(context.cursor)) if context.cursor else _Memory()
    if cron and not _due(memory, cron):
        return dg.SensorResult(skip_reason=f"the next time of {cron} has not come", cursor=json.dumps(vars(memory)))
    repository = context.repository_def
    assert repository is not None
    named = dagster_private.resource_definitions(repository)
    with dg.build_resources(named, instance=context.instance) as ready:
        graph = Graph.of(repository, {name: getattr(ready, name) for name in named})
        assets = [graph.assets[key] for key in graph.assets if key in keys]
        prospects = Prospects(graph, context.instance)
        requests: list[dg.RunRequest] = []
        seen: dict[str, str] = {}
        memory.waiting = False
        for asset in assets if not changed else [asset for asset in assets if not asset.upstream]:
            ready_keys = _wanted(asset, prospects, context.instance, memory, seen, changed)
            runs = list(asset.runs(ready_keys, context.instance))
            for run in runs[: MOST_RUNS - len(requests)]:
                memory.asked |= {_name(asset, key): prospects.identity(prospects.of(asset, key))[:SHORT] for key in run}
                name = f"{memory.look} {asset.name} {run[0]}..{run[-1]}"
                requests.append(dg.RunRequest(name, asset_selection=[asset.key], tags=run_tags(run)))
            memory.waiting |= len(requests) == MOST_RUNS
    memory.seen = seen
    memory.look = uuid4().hex if requests else memory.look
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(vars(memory)))


def _wanted(
    asset: Asset,
    prospects: Prospects,
    instance: dg.DagsterInstance,
    memory: _Memory,
    seen: dict[str, str],
    changed: bool,
) -> list[str]:
    """Partitions to ask for now."""
    absent, busy = set(missing(asset, instance)), set(in_progress(asset, instance))
    bad = {*failed(asset, instance), *stopped(asset, instance)}
    wanted = []
    for key in asset.keys(instance):
        if not changed and key not in absent:
            continue
        prospect, name = prospects.of(asset, key), _name(asset, key)
        if key in busy or prospect.verdict is Verdict.CANNOT or (key not in absent and not prospect.stale):
            if key not in busy:
                memory.asked.pop(name, None)
            continue
        print_ = prospects.identity(prospect)[:SHORT]
        if key in bad and memory.asked.setdefault(name, print_) == print_:
            continue  # it would fail again, or was stopped on purpose
        if not asset.upstream:
            seen[name] = print_
            if memory.seen.get(name) != print_ or not all(
                map(has_end, prospects.raw_files(prospect))
            ):  # it may still be growing
                memory.waiting = True
                continue
        wanted.append(key)
    return wanted


def _due(memory: _Memory, cron: str) -> bool:
    """Whether a time of the schedule has passed, or the look after the last one left something to do."""
    tick = dagster_private.last_tick(cron, datetime.now(UTC))
    first, passed = not memory.handled, tick > memory.handled
    memory.handled = tick
    return memory.waiting or (passed and not first)


def _name(asset: Asset, key: str) -> str:
    return f"{asset.name}/{key}"
