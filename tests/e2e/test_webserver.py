"""Backfills from the UI: the GraphQL calls its buttons make, with the real webserver and daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from imgassets.sample_data import imagenet64
from tests.e2e.dagster_processes import CHECKOUT, Dagster, dagster, environment_of

BATCHES = [f"train_data_batch_{number}" for number in range(1, 11)] + ["val_data"]

LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } runs(limit: 100) { runId status } }
    ... on PythonError { message }
  }
}
"""
ASSET = """
query Asset($path: [String!]!) {
  assetNodeOrError(assetKey: {path: $path}) {
    __typename
    ... on AssetNode {
      assetMaterializations(limit: 1000) {
        partition
        metadataEntries { label ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text }
          ... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path } }
      }
      assetPartitionStatuses {
        ... on DefaultPartitionStatuses { materializedPartitions failedPartitions unmaterializedPartitions }
      }
    }
  }
}
"""
RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    ... on Run {
      status
      eventConnection(limit: 1000) {
        events {
          __typename
          ... on ExecutionStepFailureEvent {
            failureMetadata { description metadataEntries { label ... on TextMetadataEntry { text } } }
            error { message }
          }
        }
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    folder = tmp_path_factory.mktemp("ui")
    imagenet64.write(folder / "raw")
    with dagster(folder / "home", folder / "raw") as running:
        yield running


def launch(ui: Dagster, asset: str, partitions: Sequence[str]) -> str:
    params = {"assetSelection": [{"path": ["imagenet64", asset]}], "partitionNames": list(partitions)}
    launched = ui.query(LAUNCH, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def finished(ui: Dagster, backfill: str) -> Any:
    """The backfill once it is over."""

    def over() -> Any:
        found = ui.query(BACKFILL, id=backfill)["partitionBackfillOrError"]
        assert found["__typename"] == "PartitionBackfill", found
        return None if found["status"] in {"REQUESTED", "CANCELING", "FAILING"} else found

    return ui.wait(f"the end of backfill {backfill}", over)


def node(ui: Dagster, asset: str) -> Any:
    found = ui.query(ASSET, path=["imagenet64", asset])["assetNodeOrError"]
    assert found["__typename"] == "AssetNode", found
    return found


def metadata(ui: Dagster, asset: str) -> dict[str, dict[str, Any]]:
    """Of the latest materialization of each partition: the list begins with the newest."""
    latest: dict[str, dict[str, Any]] = {}
    for event in node(ui, asset)["assetMaterializations"]:
        values = {entry.pop("label"): next(iter(entry.values()), None) for entry in event["metadataEntries"]}
        latest.setdefault(event["partition"], values)
    return latest


def imgassets(ui: Dagster, *arguments: str) -> None:
    """A command in a shell beside the UI."""
    script = "from imgassets.cli import main; main()"
    environment = environment_of(ui.home, ui.home.parent / "raw")
    subprocess.run([sys.executable, "-c", script, *arguments], env=environment, cwd=CHECKOUT, check=True, timeout=240)


def test_backfills_from_the_ui(ui: Dagster) -> None:
    """All; only what is missing; and one with a broken batch. The last two at once, as they wait on the daemon."""
    everything = finished(ui, launch(ui, "npz_index", BATCHES))
    assert everything["status"] == "COMPLETED_SUCCESS", everything
    assert [run["status"] for run in everything["runs"]] == ["SUCCESS"]  # eleven partitions, one run
    assert sorted(node(ui, "npz_index")["assetPartitionStatuses"]["materializedPartitions"]) == sorted(BATCHES)
    shown = metadata(ui, "npz_index")
    rows = dict(zip(BATCHES, (*imagenet64.ROWS, imagenet64.VAL_ROWS), strict=True))
    assert {key: values["dagster/row_count"] for key, values in shown.items()} == rows
    for key, values in shown.items():
        assert values["path"] == str(ui.home / "store" / "imagenet64" / "npz_index" / key)
        assert Path(values["path"]).is_dir()
        assert values["images_per_class"].startswith("![Images per class](data:image/svg+xml;base64,")

    made = ["train_data_batch_10", "val_data"]
    imgassets(ui, "backfill", "imagenet64/arrays", "--partitions", "train_data_batch_10..val_data")
    statuses = node(ui, "arrays")["assetPartitionStatuses"]
    assert sorted(statuses["materializedPartitions"]) == sorted(made)  # the UI sees what the shell made
    assert sorted(statuses["unmaterializedPartitions"]) == sorted(set(BATCHES) - set(made))

    os.truncate(ui.home.parent / "raw" / "imagenet64" / "train_data_batch_10.npz", 5000)
    missing = launch(ui, "arrays", statuses["unmaterializedPartitions"])
    broken = launch(ui, "npz_index", BATCHES)

    done = finished(ui, missing)
    assert done["status"] == "COMPLETED_SUCCESS", done
    assert [run["status"] for run in done["runs"]] == ["SUCCESS"]
    assert sorted(metadata(ui, "arrays")) == sorted(BATCHES)
    assert len(node(ui, "arrays")["assetMaterializations"]) == len(BATCHES)  # none was made twice

    failed = finished(ui, broken)
    assert failed["status"] == "COMPLETED_FAILED", failed
    (run,) = failed["runs"]
    assert run["status"] == "FAILURE"
    events = ui.query(RUN, id=run["runId"])["runOrError"]["eventConnection"]["events"]
    (failure,) = [event for event in events if event["__typename"] == "ExecutionStepFailureEvent"]
    sentence = failure["failureMetadata"]["description"]
    assert sentence.startswith("1 of 11 partitions failed. imagenet64/npz_index/train_data_batch_10: ")
    assert "train_data_batch_10.npz is cut short or damaged" in sentence
    assert len(sentence) <= 500
    (entry,) = failure["failureMetadata"]["metadataEntries"]
    assert entry["label"] == "train_data_batch_10"
    states = {key: values["state"] for key, values in metadata(ui, "npz_index").items()}
    assert states == dict.fromkeys(BATCHES, "unchanged, skipped") | {"train_data_batch_10": "built"}
