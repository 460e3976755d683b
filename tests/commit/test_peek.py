"""A look at a vault: what is remembered, and stand-ins for what is not."""

from __future__ import annotations

import os
from pathlib import Path

from imgassets.commit.peek import PeekVault
from imgassets.commit.vault import Vault


def test_a_look_reads_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(b"bytes")
    look = PeekVault(tmp_path / "store", tmp_path / "state")
    assert look.looking
    assert look.checksums.known(file) is None
    assert look.checksums.of(file) == look.checksums.of(file) == look.checksums.stand_in(file)
    assert look.stood_in == {file: 5}
    assert not (tmp_path / "state").exists()


def test_a_look_knows_what_a_run_has_read(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(b"bytes")
    os.utime(file, (1e9, 1e9))  # what was just written may still change unseen
    run = Vault(tmp_path / "store", tmp_path / "state")
    assert not run.looking
    checksum = run.checksums.of(file)
    look = PeekVault(run.root, run.state)
    assert look.checksums.known(file) == look.checksums.of(file) == checksum
    assert look.stood_in == {}
    file.write_bytes(b"other bytes")
    assert look.checksums.known(file) is None
    assert look.checksums.of(file) == look.checksums.stand_in(file)
    assert look.stood_in == {file: 11}
