"""A seeded sample of `make fuzz`: whatever is read ends in an answer, or in an error of ours that names the file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.fuzz.fuzzing import Fuzzing, fuzz
from tests.fuzz.mutations import mutate
from tests.fuzz.readers import BOUNDED, READERS

SECONDS = 0.25


@pytest.mark.parametrize("name", [name for name in READERS if name != BOUNDED])
def test_a_reader(name: str) -> None:
    _, found = fuzz(name, 0, SECONDS, inputs=30)
    assert not found, "\n".join(map(str, found))


def test_the_same_seed_makes_the_same_inputs() -> None:
    data = json.dumps({"a": [1, 2], "b": {"c": "d"}}).encode()
    some = [mutate(data, random.Random(f"x {n}")) for n in range(500)]
    assert some == [mutate(data, random.Random(f"x {n}")) for n in range(500)]
    assert len(set(some)) > 300
    assert mutate(b"", random.Random(0)) is not None


def test_a_foreign_error_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzing = Fuzzing("label files", 1, tmp_path)
    monkeypatch.setattr("imgassets.sources.ilsvrc._synsets", lambda path: path.read_text("ascii"))
    found = [finding for _, finding in zip(range(300), fuzzing.inputs(), strict=False) if finding]
    assert {finding.kind.split()[0] for finding in found} == {"UnicodeDecodeError"}
    assert "python -m tests.fuzz 'label files' --seed 1 --first" in str(found[0])
