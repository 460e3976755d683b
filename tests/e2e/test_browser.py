"""The UI in a real browser, as a person uses it: through `imgassets ui` and its guard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imgassets.sample_data import imagenet64
from tests.e2e.dagster_processes import CHECKOUT, environment_of

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")
SHOTS = os.environ.get("IMGASSETS_SCREENSHOTS")
"""Folder for screenshots, to look at."""


@dataclass
class Browser:
    """A page, and the server it shows."""

    page: Any
    address: str
    folder: Path

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.wait_for_timeout(2500)
            self.page.screenshot(path=f"{SHOTS}/{name}.png")

    def materialized(self, asset: str) -> set[str]:
        query = (
            "query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { assetPartitionStatuses {"
            " ... on DefaultPartitionStatuses { materializedPartitions } } } } }"
        )
        body = {"query": query, "variables": {"k": {"path": ["imagenet64", asset]}}}
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}/graphql", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            found = json.loads(reply.read())["data"]["assetNodeOrError"]["assetPartitionStatuses"]
        return set(found["materializedPartitions"])

    def open_dialog(self, asset: str) -> Any:
        self.go(f"/assets/imagenet64/{asset}?view=partitions")
        self.page.get_by_role("button", name="Materialize").first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("Partition selection").wait_for()
        return dialog

    def launch_one(self, asset: str, partition: str) -> None:
        dialog = self.open_dialog(asset)
        dialog.get_by_text("Select a partition or create one").click()
        self.page.get_by_placeholder("Filter partitions").fill(partition)
        self.page.get_by_text("Select all (1)").click()
        self.page.keyboard.press("Escape")  # closes the list, which covers what is beside it
        self.page.get_by_placeholder("Filter partitions").wait_for(state="hidden")
        dialog.get_by_role("button", name="Launch").click()


def wait(what: str, ready: Callable[[], Any], deadline: float = 180) -> None:
    end = time.monotonic() + deadline
    while not ready():
        assert time.monotonic() < end, f"{what} did not come in {deadline} s"
        time.sleep(1)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("browser")
    imagenet64.write(folder / "raw")
    home = folder / "home"
    home.mkdir()
    shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "from imgassets.cli import main; main()"
    with open(folder / "ui.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "ui", "--port", str(port)],
            env=environment_of(home, folder / "raw"),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait("the UI", lambda: status(address) == 200)
        yield address, folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def browser(ui: tuple[str, Path]) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # as root, which containers often are, Chromium starts without its sandbox only
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(60_000)
        yield Browser(page, *ui)
        chromium.close()


def status(address: str, path: str = "/", **headers: str) -> int:
    request = urllib.request.Request(address + path, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_guard_stands_before_it(ui: tuple[str, Path]) -> None:
    address, _ = ui
    assert status(address) == 200
    assert status(address, Host="evil.example") == 403
    assert status(address, "/graphql?query=mutation{wipeAssets(assetPartitionRanges:[]){__typename}}") == 403
    assert status(address, Origin="https://evil.example") == 403


def test_a_day_in_the_browser(browser: Browser) -> None:
    page = browser.page
    browser.go("/asset-groups/imagenet64")
    page.get_by_role("button", name="Materialize all").wait_for()
    page.get_by_text("imagenet64").last.click()
    browser.shot("1-graph")

    browser.launch_one("npz_index", "val_data")
    wait("the materialization", lambda: browser.materialized("npz_index") == {"val_data"})
    browser.go("/assets/imagenet64/npz_index?view=partitions&partition=val_data")
    page.get_by_text("[Show Markdown]").first.click()
    page.locator("img[src^='data:image']").first.wait_for()
    browser.shot("2-partition")
    browser.go("/assets/imagenet64/npz_index?view=checks")
    page.get_by_text("labels_in_range").first.wait_for()
    page.get_by_text("Succeeded").or_(page.get_by_text("Passed")).first.wait_for()
    browser.shot("3-checks")

    dialog = browser.open_dialog("npz_index")
    dialog.get_by_role("button", name="Missing", exact=True).click()
    dialog.get_by_role("button", name="Launch").click()
    wait("the backfill", lambda: len(browser.materialized("npz_index")) == 11)
    browser.go("/assets/imagenet64/npz_index?view=partitions")
    page.get_by_text("Missing (0)").wait_for()
    browser.shot("4-all-there")

    os.truncate(browser.folder / "raw" / "imagenet64" / "val_data.npz", 5000)
    browser.launch_one("npz_index", "val_data")
    page.wait_for_timeout(5000)
    browser.go("/runs")
    failed = page.get_by_text("Failure").first
    for _ in range(30):
        if failed.is_visible():
            break
        page.wait_for_timeout(2000)
    browser.shot("5-runs")
    page.locator("a[href*='/runs/']").first.click()
    sentence = page.get_by_text("is cut short or damaged").first
    sentence.wait_for()
    browser.shot("6-error")
