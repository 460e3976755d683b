"""How large a GraphQL query may be: one of 100,000 aliases kept Dagster's webserver busy for a minute.

The limits are a multiple of what the UI itself asks for: 11 deep, 639 fields with fragments written out, 4 aliases, 20
definitions and 16 KiB (Dagster 1.13), and let GraphQL's own question for the schema through.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from graphql import DocumentNode, FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

LENGTH = 1 << 16
"""Characters of a query."""
DEFINITIONS = 100
FANS = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})
"""Lists of a schema that lead back to types: each within another multiplies the answer by the size of the schema."""


class Size(NamedTuple):
    """Of a query, with its fragments written out."""

    depth: int = 0
    fans: int = 0
    """Most of `FANS` within each other."""
    fields: int = 0
    aliases: int = 0

    def beside(self, other: Size) -> Size:
        """Of both in one selection."""
        deep = max(self.depth, other.depth), max(self.fans, other.fans)
        return Size(*deep, self.fields + other.fields, self.aliases + other.aliases)


LIMITS = Size(depth=20, fans=3, fields=3000, aliases=100)


def problem_of_request(body: bytes) -> str:
    """Why the body of a POST is not run; empty if it is."""
    return _problem(body)


def problem_of_message(text: str) -> str:
    """Why a message over a websocket (protocol graphql-ws) ends the connection; empty if it does not."""
    return _problem(text, within="payload")


def _problem(text: str | bytes, within: str = "") -> str:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "this is no JSON"
    if within and isinstance(data, dict) and data.get("type") != "start":
        return ""
    asked = data.get(within) if within and isinstance(data, dict) else data
    if not isinstance(asked, dict) or not isinstance(query := asked.get("query"), str):
        return "this is no GraphQL request"
    if not isinstance(asked.get("variables"), dict | str | None):
        return "variables of GraphQL are an object"
    return problem(query)


def problem(query: str) -> str:
    """Why a query is not run; empty if it is, or if it is none: that Dagster tells better."""
    from graphql import GraphQLError, parse

    if len(query) > LENGTH:
        return f"a GraphQL query has {LENGTH} characters at most"
    try:
        document = parse(query, no_location=True)
        if len(document.definitions) > DEFINITIONS:
            return f"GraphQL has {DEFINITIONS} operations and fragments at most"
        size = measure(document)
    except GraphQLError:
        return ""
    except RecursionError:  # brackets within brackets, or a fragment within itself
        return f"a GraphQL query is {LIMITS.depth} deep at most"
    for name, found, limit in zip(Size._fields, size, LIMITS, strict=True):
        if found > limit:
            return f"a GraphQL query has {name} up to {limit}, this one {found}"
    return ""


def measure(document: DocumentNode) -> Size:
    """Size of all operations of a document together, and of fragments that none of them has: they are validated, too.

    Raises:
        RecursionError: a fragment has itself within it.
    """
    from graphql import FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, OperationDefinitionNode

    parts = document.definitions
    fragments = {part.name.value: part for part in parts if isinstance(part, FragmentDefinitionNode)}
    known: dict[str, Size] = {}

    def of_all(selections: SelectionSetNode | None) -> Size:
        size = Size()
        for one in selections.selections if selections else ():
            size = size.beside(of(one))  # type: ignore[arg-type]
        return size

    def of(one: FieldNode | FragmentSpreadNode | InlineFragmentNode) -> Size:
        if isinstance(one, FragmentSpreadNode):
            name = one.name.value
            if name not in known:
                known[name] = of_all(fragments[name].selection_set) if name in fragments else Size()
            return known[name]
        size = of_all(one.selection_set)
        if isinstance(one, InlineFragmentNode):
            return size
        fan = one.name.value in FANS
        return Size(size.depth + 1, size.fans + fan, size.fields + 1, size.aliases + (one.alias is not None))

    total = Size()
    for part in parts:
        if isinstance(part, OperationDefinitionNode):
            total = total.beside(of_all(part.selection_set))
    for name in fragments.keys() - known.keys():
        total = total.beside(of_all(fragments[name].selection_set))
    return total
