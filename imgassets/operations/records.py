"""Dagster's records of runs and materializations, in the current home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from imgassets.environment import dagster_home
from imgassets.errors import StoreError


@contextmanager
def records() -> Iterator[dg.DagsterInstance]:
    """The instance that `$DAGSTER_HOME` configures.

    Raises:
        StoreError: its database is damaged or does not answer.
    """
    from sqlalchemy.exc import DatabaseError

    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except DatabaseError as error:
        raise StoreError(
            f"Dagster's database of {dagster_home()} cannot be read ({error.orig}): start it; or, if it is damaged, "
            "move the folders history, runs and schedules away. No artifact is in it: a backfill finds those there are."
        ) from error
