"""What decides whether an artifact is the one that would be made now: also of those that earlier versions made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.commit import Manifest, Recipe, load
from imgassets.commit.manifest import unsaid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a"]) | st.sampled_from([0.5, 2.0]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)
SETTINGS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
NOW = Recipe(
    "demo/shards",
    "one",
    {"demo/index/all": "name:new", "raw.bin": "r"},
    {"seed": 3},
    "raw/1",
    "1",
    defaults={"seed": 0, "spread": "chunks", "rule": {"low": 0, "high": 100}},
    formerly={"demo/index/all": "whole"},
)
THEN = replace(
    NOW,
    inputs={"demo/index/all": "whole", "raw.bin": "r"},
    config={"seed": 3, "spread": "chunks", "rule": {"low": 0, "high": 100}},
    defaults={},
    formerly={},
)


def merged(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: merged(config[name], defaults[name])
        for name in config.keys() & defaults.keys()
        if isinstance(config[name], dict) and isinstance(defaults[name], dict)
    }
    return defaults | config | both


@given(SETTINGS, SETTINGS)
def test_what_is_left_out_is_what_the_defaults_give(config: dict[str, Any], defaults: dict[str, Any]) -> None:
    said = unsaid(config, defaults)
    assert unsaid(said, defaults) == said
    assert unsaid(merged(config, defaults), defaults) == said
    assert unsaid(defaults, defaults) == {}
    assert unsaid(config, {}) == config


def test_a_default_of_another_type_is_another_value() -> None:
    assert unsaid({"a": True, "b": 1, "c": (1, 2)}, {"a": 1, "b": 1.0, "c": [1, 2]}) == {"a": True, "b": 1}


def test_an_artifact_of_an_earlier_version_is_recognized() -> None:
    assert NOW.fingerprint != THEN.fingerprint
    assert NOW.makes(THEN)
    assert NOW.makes(NOW)
    assert not THEN.makes(NOW)


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": THEN.inputs | {"demo/index/all": "another"}},
        {"inputs": THEN.inputs | {"raw.bin": "whole"}},
        {"inputs": THEN.inputs | {"more": "m"}},
        {"config": THEN.config | {"seed": 0}},
        {"config": THEN.config | {"spread": "even"}},
        {"config": THEN.config | {"rule": {"low": 1, "high": 100}}},
        {"format": "raw/2"},
        {"code_version": "2"},
        {"partition": "two"},
    ],
)
def test_anything_else_makes_another_artifact(other: dict[str, Any]) -> None:
    assert not NOW.makes(replace(THEN, **other))


def test_defaults_and_former_names_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(Manifest(NOW, (), {"settings": {"seed": 3, "spread": "chunks"}}).dump())
    read = load(path)
    assert b"formerly" not in path.read_bytes()
    assert read.recipe == NOW
    assert read.recipe.fingerprint == NOW.fingerprint
    assert read.settings == {"seed": 3, "spread": "chunks"}
    assert Manifest(THEN, ()).settings == THEN.config
