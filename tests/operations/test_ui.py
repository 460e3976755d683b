"""The UI and its daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgassets.errors import StoreError
from imgassets.operations.ui import only_one


def test_a_home_has_one_daemon(tmp_path: Path) -> None:
    told = f"Process {os.getpid()} looks after .* already: .* --read-only"
    with only_one(tmp_path), pytest.raises(StoreError, match=told), only_one(tmp_path):
        raise AssertionError
    with only_one(tmp_path):
        pass
