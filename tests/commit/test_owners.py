"""Whose a dataset is: recorded with the first artifact, never changed, never part of an artifact."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from imgassets.commit import Owner, Stage, Vault, Written
from imgassets.errors import BadInput, StoreError
from tests.commit import victim
from tests.commit.invariants import OWNER, VERSION, tree
from tests.commit.test_lock import apart
from tests.commit.victim import Kind


def vault_of(root: Path, owner: str | None) -> Vault:
    return Vault(root / "store", root / "state", None if owner is None else lambda dataset: Owner(owner))


def commit(vault: Vault, kind: Kind, version: int, *, force: bool = False) -> bool:
    def write(stage: Stage) -> Written:
        return victim.write(stage, victim.FILES[kind][version])

    return vault.commit(victim.location_in(vault, kind), victim.recipe(kind, version), write, force=force).fresh


def recorded(vault: Vault) -> str:
    return str(json.loads((vault.root / OWNER).read_bytes())["owner"])


def test_the_first_to_write_owns_it_for_good(scratch: Path, kind: Kind) -> None:
    first, second = vault_of(scratch, "first"), vault_of(scratch, "second")
    location = victim.location_in(first, kind)
    assert not first.owns(location)
    commit(first, kind, 1)
    assert recorded(first) == "first"
    commit(second, kind, VERSION)
    assert recorded(first) == "first"
    assert first.owns(location)
    assert not second.owns(location)


def test_it_is_taken_over_when_it_is_next_written(scratch: Path, kind: Kind) -> None:
    commit(vault_of(scratch, None), kind, 1)
    vault = vault_of(scratch, "me")
    before = tree(vault.root)
    assert not commit(vault, kind, 1)
    assert tree(vault.root) == before, "an unchanged rerun writes nothing"
    assert commit(vault, kind, 1, force=True)
    assert {name: data for name, data in tree(vault.root).items() if not name.startswith(".imgassets")} == before
    assert vault.owns(victim.location_in(vault, kind))


def test_what_fails_claims_nothing(scratch: Path, kind: Kind) -> None:
    def fail(stage: Stage) -> Written:
        raise BadInput("no.npz is bad.")

    vault = vault_of(scratch, "me")
    with pytest.raises(BadInput):
        vault.commit(victim.location_in(vault, kind), victim.recipe(kind, 1), fail)
    assert tree(vault.root) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON"])
def test_a_damaged_record_is_nobody_s(scratch: Path, text: str) -> None:
    vault = vault_of(scratch, "me")
    commit(vault, "file", 1)
    (vault.root / OWNER).write_text(text)
    assert not vault.owns(victim.location_in(vault, "file"))
    commit(vault, "file", VERSION)
    assert (vault.root / OWNER).read_text() == text


def test_all_who_write_in_the_vault_can_claim(shared: Path) -> None:
    def write(stage: Stage) -> Written:
        with stage.create("a") as sink:
            sink.write(b"a")
        return Written()

    def claim(dataset: str) -> None:
        os.umask(0o077)
        vault = Vault(shared, shared / "nowhere", lambda _: Owner("me"))
        location = vault.location(dataset, "made", "one", folder=True)
        vault.commit(location, victim.recipe("folder", 1), write)
        assert vault.owns(location)

    apart(lambda: claim("first"), 54_322)
    apart(lambda: claim("second"), 54_323)
    assert {path.name for path in (shared / ".imgassets/owners").iterdir()} == {"first.json", "second.json"}


HOME, PHOTOS, SCANS = Owner("a home"), Owner("1", "photos", "its home"), Owner("2", "scans")


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        *((PHOTOS, SCANS, "the project photos"), (PHOTOS, HOME, "the project photos"), (HOME, PHOTOS, "somebody else")),
        *((HOME, Owner("another home"), ""), (PHOTOS, Owner("1", "pictures"), ""), (Owner("its home"), PHOTOS, "")),
    ],
)
def test_what_a_project_owns_nobody_else_writes_to(scratch: Path, first: Owner, second: Owner, refused: str) -> None:
    ours, theirs = (replace(vault_of(scratch, ""), owner=lambda _, owner=owner: owner) for owner in (first, second))
    commit(ours, "folder", 1)
    before = tree(ours.root)
    if not refused:
        assert commit(theirs, "folder", VERSION)
        return
    place = victim.location_in(ours, "folder").root / "demo"
    with pytest.raises(StoreError, match=rf"^{place} belongs to {refused}, as .*demo.json says: give this dataset"):
        commit(theirs, "folder", VERSION)
    assert tree(ours.root) == before
    assert not theirs.owns(victim.location_in(ours, "folder"))


def test_of_two_projects_that_begin_at_once_one_is_refused(scratch: Path) -> None:
    ours, theirs = (replace(vault_of(scratch, ""), owner=lambda _, owner=owner: owner) for owner in (PHOTOS, SCANS))
    location = ours.location("demo", "made", "other", folder=True)

    def write(stage: Stage) -> Written:
        commit(theirs, "folder", 1)
        return victim.write(stage, victim.FILES["folder"][1])

    with pytest.raises(StoreError, match="belongs to the project scans"):
        ours.commit(location, victim.recipe("folder", 1), write)
    assert not location.path.exists()


def test_a_record_is_synced_once_by_a_process(scratch: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("imgassets.commit.owners.fsync_above", lambda path, root: synced.append(path))
    vault = vault_of(scratch, "me")
    record = vault.root / OWNER
    for version in (1, VERSION, 1):
        commit(vault, kind, version)
    assert synced == [record]
    fresh = record.with_name("another")
    fresh.write_bytes(record.read_bytes())
    fresh.replace(record)  # by another writer, who may not have synced it
    commit(vault, kind, VERSION)
    assert synced == [record] * 2
