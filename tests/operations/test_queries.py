"""Queries that would keep the webserver busy are refused; whatever the UI asks is far from that."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import dagster_webserver
import pytest
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    Visitor,
    get_introspection_query,
    parse,
    print_ast,
    visit,
)

from imgassets.operations.queries import DEFINITIONS, LENGTH, LIMITS, measure, problem

TEXT = re.compile(r'"((?:\\n|\s)*(?:query|mutation|subscription|fragment) (?:[^"\\]|\\.)*)"')
"""GraphQL in the UI's JavaScript."""


@cache
def parts() -> dict[str, OperationDefinitionNode | FragmentDefinitionNode]:
    """Operations and fragments of the installed UI by their names."""
    found: dict[str, OperationDefinitionNode | FragmentDefinitionNode] = {}
    for path in Path(dagster_webserver.__file__).parent.glob("webapp/build/_next/**/*.js"):
        for match in TEXT.finditer(path.read_text(encoding="utf-8", errors="replace")):
            try:
                document = parse(json.loads(f'"{match[1]}"'), no_location=True)
            except (GraphQLError, ValueError):
                continue
            for part in document.definitions:
                assert isinstance(part, OperationDefinitionNode | FragmentDefinitionNode)
                if part.name:
                    found[part.name.value] = part
    return found


def with_fragments(name: str) -> str:
    """An operation as the UI sends it."""
    needed = [name]

    class Spreads(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
            if node.name.value not in needed and node.name.value in parts():
                needed.append(node.name.value)

    for one in needed:
        visit(parts()[one], Spreads())
    return "\n\n".join(print_ast(parts()[one]) for one in needed)


def test_whatever_the_ui_asks_is_far_below_the_limits() -> None:
    names = [name for name, part in parts().items() if isinstance(part, OperationDefinitionNode)]
    texts = [with_fragments(name) for name in names]
    assert len(texts) > 100
    assert not [problem(text) for text in texts if problem(text)]
    largest = [max(sizes) for sizes in zip(*(measure(parse(text)) for text in texts), strict=True)]
    assert all(size * 1.5 <= limit for size, limit in zip(largest, LIMITS, strict=True)), largest
    assert max(map(len, texts)) * 4 <= LENGTH
    assert max(len(parse(text).definitions) for text in texts) * 2 <= DEFINITIONS


def test_the_question_for_the_schema() -> None:
    assert problem(get_introspection_query()) == ""


def nested(name: str, times: int) -> str:
    return f"{{{name}" * times + "{ x }" + "}" * times


def doubling(times: int) -> str:
    """As short as it is large: each fragment has the next one twice."""
    parts = (f"fragment f{n} on Q {{ a {{ ...f{n + 1} }} b {{ ...f{n + 1} }} }}" for n in range(times))
    return "{ ...f0 } " + " ".join(parts) + f" fragment f{times} on Q {{ x }}"


LARGE = {
    "aliases": "{" + " ".join(f"a{n}: version" for n in range(3_000)) + "}",
    "aliases of fragments": "{" + "...f " * 60 + "} fragment f on Q { a: x b: x }",
    "100,000 aliases": "{" + " ".join(f"a{n}: version" for n in range(100_000)) + "}",
    "fields": "{" + " version" * 4_000 + "}",
    "depth": nested("a", 30),
    "depth through fragments": "{ ...f } fragment f on Q " + nested("a", 15) + " fragment g on Q { x }",
    "doubling": doubling(15),
    "doubling for ever": doubling(60),
    "a fragment in itself": "{ ...f } fragment f on Q { a { ...f } }",
    "a fragment that nobody has": "{ x } fragment f on Q {" + " version" * 4_000 + "}",
    "fragments that only have each other": "{ x } fragment f on Q { ...g } fragment g on Q { ...f }",
    "operations": "".join(f"query q{n} {{ a }}" for n in range(500)),
    "a chain of fragments": "{ ...f0 }" + "".join(f"fragment f{n} on Q {{ ...f{n + 1} }}" for n in range(2_000)),
    "all types of all types": "{ __schema { types " + "{ fields { type " * 4 + "{ name }" + "} }" * 4 + " } }",
    "length": "{ a }" + " " * LENGTH,
}
LARGE["depth through fragments"] = "{ a" + nested("a", 8) + "...f } fragment f on Q " + nested("a", 21)


@pytest.mark.parametrize("name", LARGE)
def test_large_ones(name: str) -> None:
    assert problem(LARGE[name])


@pytest.mark.parametrize(
    "query", [nested("a", 10_000), "{ a(b: " + "[" * 20_000 + "]" * 20_000 + ") }"], ids=["a", "b"]
)
def test_what_no_parser_follows(query: str) -> None:
    """Old versions of GraphQL's end in a RecursionError, newer ones in an error that Dagster tells by itself."""
    with pytest.raises((GraphQLError, RecursionError)):
        parse(query)
    assert problem(query) in {"", f"a GraphQL query is {LIMITS.depth} deep at most"}


def test_what_is_no_query_is_left_to_dagster() -> None:
    assert problem("{") == problem("") == problem("{ ...nowhere }") == ""


def test_a_size_counts_every_use_of_a_fragment() -> None:
    document: DocumentNode = parse("{ a { ...f } b: a { ... on X { ...f } } } fragment f on Q { c: d { e } }")
    assert measure(document) == (3, 0, 6, 3)
