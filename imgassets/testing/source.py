"""What every source must do: the same samples in the same order, whoever reads how many at once."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgassets.columns import Field
from imgassets.sources.base import Samples, Source

SUBCLASSED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""The fixture is the same source for every example, and each subclass has another one."""


class SourceContract:
    """Any rows, in any pieces and threads, are the same samples.

    Example:
        >>> class TestRows(SourceContract):
        ...     def source(self):
        ...         return ArraySource([(images, labels)])
    """

    @abstractmethod
    def source(self) -> Source:
        """A source of 2 to 1000 samples, all of which can be used; another object each time."""

    @pytest.fixture
    def made(self) -> Source:
        return self.source()

    def test_samples_have_the_fields_they_are_said_to_have(self, made: Source) -> None:
        samples = made.read(range(len(made)))
        assert list(samples.columns) == [field.name for field in made.fields]
        for field in made.fields:
            column = samples.columns[field.name]
            assert len(column) == len(made)
            if not field.ragged:
                assert np.asarray(column).dtype == np.dtype(field.dtype)
                assert np.asarray(column).shape[1:] == tuple(field.shape)

    def test_a_second_source_has_the_same_samples(self, made: Source) -> None:
        other = self.source()
        assert (len(other), other.fields, other.class_to_idx) == (len(made), made.fields, made.class_to_idx)
        assert same(made.fields, made.read(range(len(made))), other.read(range(len(made))))
        assert [made.name(k) for k in range(len(made))] == [other.name(k) for k in range(len(made))]

    @settings(suppress_health_check=SUBCLASSED, max_examples=20, deadline=None)
    @given(data=st.data())
    def test_any_rows_in_any_pieces(self, made: Source, data: st.DataObject) -> None:
        rows = sorted(data.draw(st.sets(st.integers(0, len(made) - 1), min_size=1, max_size=20)))
        together = made.read(rows)
        for place, row in enumerate(rows):
            assert same(made.fields, made.read([row]), together, [0], [place])

    def test_threads_share_it(self, made: Source) -> None:
        whole = made.read(range(len(made)))
        with ThreadPoolExecutor(8, initializer=made.start_thread) as pool:
            for row, samples in enumerate(pool.map(lambda k: made.read([k]), range(len(made)))):
                assert same(made.fields, samples, whole, [0], [row])

    def test_labels_are_of_its_classes(self, made: Source) -> None:
        numbers = set(made.class_to_idx.values())
        labels = [field for field in made.fields if field.name == "label" and field.scalar]
        if numbers and labels:
            assert set(np.asarray(made.read(range(len(made))).columns["label"]).tolist()) <= numbers


def same(fields: Any, a: Samples, b: Samples, rows: Any = None, others: Any = None) -> bool:
    """Whether samples `rows` of `a` are samples `others` of `b`; None: all."""

    def some(field: Field, samples: Samples, chosen: Any) -> list[bytes]:
        column = samples.columns[field.name]
        picked = [column[k] for k in (range(len(column)) if chosen is None else chosen)]
        return [bytes(row) if field.ragged else np.asarray(row).tobytes() for row in picked]

    return all(some(field, a, rows) == some(field, b, others) for field in fields)
