"""Whatever an earlier version made stays current, and stays readable."""

from __future__ import annotations

from tests.upgrade.conftest import VAULTS, Earlier


def test_there_is_a_vault_of_an_earlier_version() -> None:
    assert VAULTS


def test_nothing_is_made_again(earlier: Earlier) -> None:
    before = earlier.artifacts()
    outcomes = earlier.run("backfill", "*")
    assert sum(len(outcome["unchanged"]) for outcome in outcomes) > 50
    assert {outcome["asset"]: outcome["built"] for outcome in outcomes if outcome["built"]} == {}
    assert earlier.artifacts() == before
    states = earlier.run("status")
    assert {state["asset"]: state["reasons"] for state in states if state["current"] != state["partitions"]} == {}


def test_every_byte_is_read_as_it_was_written(earlier: Earlier) -> None:
    assert earlier.run("verify")["findings"] == []
