"""The asset graph as the commands see it: the assets of a selection and their partitions, in the order to make them."""

import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import dagster as dg
from yaml import MarkedYAMLError

from imgassets.declared import datasets
from imgassets.errors import BadInput, Misunderstood
from imgassets.io import dagster_private
from imgassets.io.ct_rate import CtIndexIOManager, partitions_name
from imgassets.planning.graph import Asset, Graph
from imgassets.projects import Project
from imgassets.settings import OURS, reference
from imgassets.spelling import did_you_mean

__all__ = ["Asset", "Graph", "definitions", "graph", "parse_range", "select", "select_one"]


WRONG = re.compile(r"^`?(.+?)(?: at (\S+:\d+)`)?\n  (.+?) \[type=", re.MULTILINE)
"""What of pydantic's errors is for a person: attribute, file and line where Dagster has added them, reason."""
TERM = re.compile(r"""\b(key|group):"?([^\s"()*<>]+)"?(?=[\s)+]|$)""")
"""A key or a group, without wildcards, in a selection."""
DATASET = re.compile(r"^Error while (?:loading component|building definitions for) (.+?)\[\d+\]:")
"""What Dagster's tree of components says of the one that fails: its folder."""


@cache
def definitions() -> dg.Definitions:
    """Everything under `defs/` of the current project, loaded once.

    Raises:
        BadInput: a dataset's YAML is wrong; names the file, and the line where it is known.
    """
    project = Project.current()
    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    try:
        loaded: dg.Definitions = import_module(f"{project.package}.definitions").defs()
        dagster_private.validate(loaded)
    except Exception as error:  # Dagster has an error of its own for each thing that can be wrong with a dataset
        raise BadInput(_reason(error)) from error
    return loaded


def _reason(error: BaseException) -> str:
    """What Dagster says of a dataset that does not load, without the tree and the traceback around it."""
    place = ""
    while True:
        if dataset := DATASET.match(str(error)):
            place = f"defs/{dataset[1]}/defs.yaml: "
        found = WRONG.findall(str(error))
        if places := [place for _, place, _ in found if place]:
            # of a value that is no text Dagster also says that it is no template, `….str`
            name, _, what = min(found, key=lambda one: one[0].endswith(".str"))
            return f"{places[0]}: {name}: {what}{_meant(places[0], name)}"
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            return f"{error.problem_mark.name}:{error.problem_mark.line + 1}: {error.problem}"
        cause = None if isinstance(error, BadInput) else error.__cause__ or error.__context__
        if cause is None:
            hint = "" if place or isinstance(error, BadInput) else " (`dg check defs` shows where)"
            return f"{place}{error}{hint}"
        error = cause


def _meant(place: str, name: str) -> str:
    """The attribute of the component that is most like one that it has not."""
    file = Path(place.rpartition(":")[0])
    for dataset in datasets(Project.current()):
        known = reference().get(dataset.kind.removeprefix(OURS), {"attributes": ()})["attributes"]
        ours = [one["name"] for one in known]
        if dataset.file.samefile(file) and name.rpartition(".")[2] not in {one.rpartition(".")[2] for one in ours}:
            return did_you_mean(name.removeprefix("attributes."), ours).replace(" Did", ". Did", 1)
    return ""


def graph() -> Graph:
    """Its partitioned artifacts."""
    return _graph(definitions())


def register_again(graph: Graph, instance: dg.DagsterInstance) -> None:
    """Tell Dagster of the partitions that indexes in the vault list, where its database has none: a new one has not."""
    for asset in graph.assets.values():
        index, name = asset.io_manager, partitions_name(asset.key.path[0])
        if isinstance(index, CtIndexIOManager) and not instance.get_dynamic_partitions(name):
            for split in asset.keys(instance):
                index.register(instance, asset.key, split)


_loaded: list[tuple[dg.Definitions, Graph]] = []


def _graph(loaded: dg.Definitions) -> Graph:
    if not _loaded or _loaded[0][0] is not loaded:
        _loaded[:] = [(loaded, Graph.of(dagster_private.repository_of(loaded), loaded.resources or {}))]
    return _loaded[0][1]


def select(selection: str) -> list[Asset]:
    """The assets of a Dagster selection: `imagenet64/csv_sample`, `+imagenet64/csv_sample`, `group:imagenet64`, `*`.

    Upstream assets come first.

    Raises:
        BadInput: there is no dataset to select from.
        Misunderstood: the selection is malformed, selects nothing, or names what does not exist.
    """
    loaded = definitions()
    if not dagster_private.materializable(loaded):
        project = Project.current()
        raise BadInput(
            f"{project.root} declares no dataset yet: write one to {project.root / project.package / 'defs'}, as "
            "example.yaml there shows."
        )
    try:
        keys = dagster_private.selected(loaded, _quoted(selection))
    except Exception as error:
        hint = did_you_mean(selection.strip("+*"), names(loaded)) or f" Name an asset, e.g. {_listed(loaded)}."
        raise Misunderstood(f"{selection!r} selects nothing: {str(error).rstrip('.')}.{hint}") from error
    _refuse_unknown(selection, loaded)
    if not keys:
        raise Misunderstood(f"{selection!r} selects nothing: there are {_listed(loaded)}.")
    return [asset for key, asset in graph().assets.items() if key in keys]


def select_one(selection: str) -> Asset:
    """The asset of a selection that has only one.

    Raises:
        Misunderstood: as `select`; also where there are several.
    """
    asset, *others = select(selection)
    if others:
        raise Misunderstood(
            f"{selection!r} selects {1 + len(others)} assets, expected one: name it, e.g. {asset.name}."
        )
    return asset


def parse_range(text: str, keys: Sequence[str]) -> list[str]:
    """Partitions `A..B`, in order, both ends included; `A` alone is one partition.

    Raises:
        Misunderstood: an end is no partition, or B comes before A.
    """
    if not keys:
        raise Misunderstood(
            f"There is no partition {text!r}, nor any other: materialize the index that lists them first."
        )
    first, dots, last = text.partition("..")
    ends = [first, last if dots else first]
    if not all(ends):
        raise Misunderstood(f"{text!r} is no range A..B of partitions: they run from {keys[0]} to {keys[-1]}.")
    for end in ends:
        if end not in keys:
            raise Misunderstood(
                f"There is no partition {end!r}: they run from {keys[0]} to {keys[-1]}.{did_you_mean(end, keys)}"
            )
    start, stop = (list(keys).index(end) for end in ends)
    if stop < start:
        raise Misunderstood(f"{last} comes before {first}: write {last}..{first}.")
    return list(keys[start : stop + 1])


def _quoted(selection: str) -> str:
    """Dagster's selection syntax wants keys that hold a slash in quotes; people do not."""
    parts = re.fullmatch(r"""(\d*\+)?([^\s:"()+]+/[^\s:"()+]+)(\+\d*)?""", selection)
    return f'{parts[1] or ""}key:"{parts[2]}"{parts[3] or ""}' if parts else selection


def _refuse_unknown(selection: str, loaded: dg.Definitions) -> None:
    """Refuse a key or a group that does not exist: Dagster takes it for one that has no assets, beside others too."""
    known = {"key": names(loaded), "group": dagster_private.groups(loaded)}
    for what, name in TERM.findall(_quoted(selection)):
        if name not in known[what]:
            hint = did_you_mean(name, known[what]) or f" There are {', '.join(known[what])}."
            raise Misunderstood(f"{selection!r} selects nothing: there is no {what} {name!r}.{hint}")


def names(loaded: dg.Definitions) -> list[str]:
    """All assets as people write them, sorted."""
    return sorted(key.to_user_string() for key in dagster_private.materializable(loaded))


def _listed(loaded: dg.Definitions) -> str:
    return ", ".join(names(loaded))
