"""Mistakes in a dataset's YAML file that Dagster passes over, or tells without their place."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

import dagster as dg
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from imgassets.errors import BadInput

PREFIX = "imgassets.components."
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
    """Look at every `defs.yaml` below `folder`.

    Raises:
        BadInput: one is empty or no text, gives a key twice, or asks for a component that does not exist; names the
            file and the line.
        yaml.MarkedYAMLError: one is no YAML.
    """
    for path in sorted(folder.rglob("defs.yaml")):
        try:
            documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), yaml.SafeLoader))
        except yaml.MarkedYAMLError as error:
            for mark in filter(None, (error.context_mark, error.problem_mark)):
                mark.name = str(path)
            raise
        except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
            raise BadInput(f"{path} is no YAML in UTF-8: {error}.") from error
        if not documents:
            raise BadInput(f"{path}:1: the file is empty, expected `type` and `attributes`.")
        for document in documents:
            _refuse_kind(path, document)
            for first, second in _doubles(document):
                place = f"{path}:{second.start_mark.line + 1}"
                raise BadInput(f"{place}: {second.value} is given twice, first in line {first.start_mark.line + 1}.")


def _refuse_kind(path: Path, document: yaml.Node) -> None:
    if not isinstance(document, yaml.MappingNode):
        raise BadInput(f"{path}:{document.start_mark.line + 1}: expected `type` and `attributes`, found no such keys.")
    from imgassets.components import __all__ as known

    for key, value in document.value:
        if key.value == "type" and str(value.value).startswith(PREFIX) and value.value[len(PREFIX) :] not in known:
            raise BadInput(
                f"{path}:{key.start_mark.line + 1}: there is no {value.value}: choose one of {', '.join(known)}."
            )


def _doubles(node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, yaml.ScalarNode]]:
    """Keys that come twice in one mapping, of which YAML's readers silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, yaml.ScalarNode] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield seen[key.value], key
                seen[key.value] = key
            yield from _doubles(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _doubles(value)
