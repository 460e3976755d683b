"""Mistakes in a dataset's YAML file that Dagster passes over, or tells without their place."""

import math
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import chain
from pathlib import Path
from typing import get_type_hints

import dagster as dg
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from imgassets import templates
from imgassets.declared import declared_in
from imgassets.errors import BadInput
from imgassets.spelling import did_you_mean

PREFIX = "imgassets.components."
TAG = "tag:yaml.org,2002:"
TAGS = {TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value", "map", "seq")}
WRITTEN_OUT = 10_000
"""Values that anchors may add to a file: Dagster looks at each, however often an anchor leads to it."""
SHOWN = 80
"""Characters of a template that a message shows."""
SEEDS = 1 << 32
"""Seeds are numbers below this: what all generators of random numbers can start from."""
LENIENT = ConfigDict(coerce_numbers_to_str=True)


class NamedScaffolder(dg.Scaffolder):
    """What `dg scaffold defs` writes: a dataset of its folder's name."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write `defs.yaml`."""
        dg.scaffold_component(request, {"name": request.target_path.name})


def check_types(declared: object) -> None:
    """Turn the attributes of a component into their declared types, as pydantic does.

    Dagster takes any text for an attribute, because it may be a template, and hands over what becomes of it unseen;
    of a text of digits a number.

    Raises:
        BadInput: a value is of another type; names the attribute.
    """
    for name, hint in get_type_hints(type(declared)).items():
        value = getattr(declared, name)
        if is_dataclass(hint):  # it looks at its own
            continue
        try:
            setattr(declared, name, TypeAdapter(hint, config=LENIENT).validate_python(value))
        except ValidationError as error:
            raise BadInput(f"{name} is {value!r}: {error.errors()[0]['msg']}.") from error


def check_root(name: str, folder: str | None) -> None:
    """Refuse a folder of raw inputs that does not lie below their root: manifests name inputs relative to it.

    Raises:
        BadInput: it is absolute or climbs out; names the attribute.
    """
    if folder is not None and (Path(folder).is_absolute() or ".." in Path(folder).parts):
        raise BadInput(
            f"{name} is {folder!r}: expected a folder below $IMGASSETS_RAW; what lies elsewhere, link there."
        )


def check_seed(name: str, seed: int) -> None:
    """Refuse what NumPy's generators cannot start from.

    Raises:
        BadInput: it is negative or has more than 32 bits; names the attribute.
    """
    if not 0 <= seed < SEEDS:
        raise BadInput(f"{name} is {seed}: expected a number from 0 to {SEEDS - 1}.")


def refuse_mistakes(folder: Path) -> None:
    """Look at every file below `folder` that declares a dataset; nothing that it says is evaluated.

    Raises:
        BadInput: one is empty or no YAML, gives a key twice, has a template that is code or anchors without end, or
            asks for a component that does not exist; names the file and the line.
    """
    for path in declared_in(folder):
        documents = _documents(path)
        if not documents:
            raise BadInput(f"{path}:1: the file is empty, expected `type` and `attributes`.")
        for document in documents:
            _refuse_kind(path, document)
            _refuse_endless(path, document)
            for node in _nodes(document):
                if wrong := _code(node):
                    raise BadInput(f"{path}:{node.start_mark.line + 1}: {wrong}.")
                for first, second in _doubles(node):
                    place = f"{path}:{second.start_mark.line + 1}"
                    raise BadInput(
                        f"{place}: {second.value} is given twice, first in line {first.start_mark.line + 1}."
                    )


def _documents(path: Path) -> list[yaml.Node]:
    try:
        return list(yaml.compose_all(path.read_text(encoding="utf-8"), yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadInput(f"{path}:{mark.line + 1 if mark else 1}: this is no YAML: {error.problem}.") from error
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise BadInput(f"{path} is no YAML in UTF-8: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read as YAML: {error}; write it plainly, without deep nesting.") from error


def _refuse_kind(path: Path, document: yaml.Node) -> None:
    if not isinstance(document, yaml.MappingNode):
        raise BadInput(f"{path}:{document.start_mark.line + 1}: expected `type` and `attributes`, found no such keys.")
    from imgassets.components import __all__ as known

    for key, value in document.value:
        kind = value.value if key.value == "type" and isinstance(value, yaml.ScalarNode) else ""
        if kind.startswith(PREFIX) and kind[len(PREFIX) :] not in known:
            hint = did_you_mean(kind[len(PREFIX) :], known)
            raise BadInput(
                f"{path}:{key.start_mark.line + 1}: there is no {kind}: choose one of {', '.join(known)}.{hint}"
            )


def _refuse_endless(path: Path, document: yaml.Node) -> None:
    sizes: dict[int, float] = {}

    def of(node: yaml.Node) -> float:
        """Values of a node with every anchor written out."""
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # for whoever asks while it is not known lies within
            sizes[id(node)] = 1 + sum(map(of, _within(node)))
        return sizes[id(node)]

    if of(document) - len(sizes) > WRITTEN_OUT:
        last = max(node.start_mark.line for node in _nodes(document) if sizes[id(node)] > WRITTEN_OUT)
        raise BadInput(
            f"{path}:{last + 1}: anchors lead to themselves, or to more than {WRITTEN_OUT} values: write them out."
        )


def _within(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return list(chain.from_iterable(node.value))
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _nodes(document: yaml.Node) -> Iterator[yaml.Node]:
    """Every node of a document once, keys too, however often anchors lead to it."""
    waiting, seen = [document], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += reversed(_within(node))


def _code(node: yaml.Node) -> str:
    """What is wrong with a node that could become a template; bytes become text later, unseen."""
    if node.tag not in TAGS:
        return f"{node.tag.removeprefix(TAG)} is no type of values here: write text, numbers, lists and mappings"
    if isinstance(node, yaml.ScalarNode) and (wrong := templates.problem(node.value)):
        return f"{node.value!r} {wrong}" if len(node.value) <= SHOWN else f"{node.value[:SHOWN]!r}… {wrong}"
    return ""


def _doubles(node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, yaml.ScalarNode]]:
    """Keys that come twice in a mapping, of which YAML's readers silently take the last."""
    seen: dict[str, yaml.ScalarNode] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                yield seen[key.value], key
            seen[key.value] = key
