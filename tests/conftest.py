"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

# how long an example takes is no property of the code on a machine that others use too
settings.register_profile("imgassets", deadline=None)
settings.load_profile("imgassets")

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
pytest.register_assert_rewrite("imgassets.testing")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI every engine is there: a test that skips for want of one has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report
