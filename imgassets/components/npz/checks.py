"""What is proven of an NPZ dataset's artifacts, with numbers."""

from dataclasses import asdict

import dagster as dg
import numpy as np

from imgassets.components.checks import Finding, artifact_check, bytes_verified
from imgassets.formats.systemds_read import check_sample
from imgassets.io.artifacts import Artifact


def npz_checks(
    index: dg.AssetsDefinition, arrays: dg.AssetsDefinition, sample: dg.AssetsDefinition
) -> list[dg.AssetChecksDefinition]:
    """All checks of one dataset."""
    return [
        artifact_check(index, "labels_in_range", _labels_in_range),
        artifact_check(index, "index_complete", _index_complete),
        artifact_check(index, "declared_mean", _declared_mean, warn=True),
        artifact_check(index, "bytes_verified", bytes_verified),
        artifact_check(arrays, "labels_in_range", _class_ids_in_range),
        artifact_check(arrays, "bytes_verified", bytes_verified),
        artifact_check(sample, "valid_for_systemds", _valid_for_systemds),
        artifact_check(sample, "class_balance", _class_balance),
        artifact_check(sample, "size_reached", _size_reached, warn=True),
    ]


def _labels_in_range(index: Artifact) -> Finding:
    """Every label is one of the 1000 devkit labels 1..1000, and its class_id one of 0..999."""
    table = index.open().table(["devkit_label", "class_id"])
    labels, class_ids = (table[name].to_numpy() for name in table.column_names)
    low, high = int(labels.min()), int(labels.max())
    passed = low >= 1 and high <= 1000 and class_ids.min() >= 0 and class_ids.max() <= 999
    return Finding(bool(passed), {"rows": len(labels), "lowest": low, "highest": high}, f"labels {low}..{high}")


def _index_complete(index: Artifact) -> Finding:
    """The index has every row of its file once, and consecutive global indices from where the batch before it ends."""
    reader = index.open()
    table, report = reader.table(["global_index", "row"]), reader.report
    rows, first = report["rows"], report["first_row"]
    passed = np.array_equal(table["row"].to_numpy(), np.arange(rows)) and np.array_equal(
        table["global_index"].to_numpy(), np.arange(first, first + rows)
    )
    return Finding(passed, {"rows": rows, "first": first, "last": first + rows - 1}, f"{rows} rows from {first}")


def _declared_mean(index: Artifact) -> Finding:
    """The declared mean of each pixel is as near to the batch's own as chance allows.

    The declared mean is that of all train batches, so the two differ by about std/√rows; six times that is a sign of
    another data set or another pixel order. Not applicable to a file without a mean, such as val_data. Rows that look
    like H, W, C are told in any file.
    """
    report = index.open().report
    if "warning" in report:
        return Finding(False, {}, report["warning"])
    difference = report["mean_difference"]
    if difference is None:
        return Finding(True, {"declared": False}, "the file declares no mean")
    limit = 6 * max(channel["std"] for channel in report["channels"].values()) / report["rows"] ** 0.5
    numbers = {"largest_difference": difference, "limit": limit}
    return Finding(
        difference <= limit, numbers, f"differs by {difference:.2f} of 255 at most, {limit:.2f} is the limit"
    )


def _class_ids_in_range(arrays: Artifact) -> Finding:
    """There is one class_id 0..999 for each image, and images are uint8 (N, 3, H, W)."""
    reader = arrays.open()
    images, labels = reader.images, reader.labels
    low, high = int(labels.min()), int(labels.max())
    passed = (
        images.dtype == np.uint8 and images.ndim == 4 and images.shape[0] == len(labels) and 0 <= low <= high <= 999
    )
    return Finding(
        passed, {"rows": len(labels), "lowest": low, "highest": high}, f"{images.shape}, class_ids {low}..{high}"
    )


def _valid_for_systemds(sample: Artifact) -> Finding:
    """Every cell is the exact text of a value in [0, 1], every label row is one-hot, sizes and metadata agree.

    Reads every byte of both CSV files: rows, columns and non-zeros of the `.mtd` files must be exact, because SystemDS
    trusts them.
    """
    numbers = check_sample(sample.open().folder)
    return Finding(True, asdict(numbers), f"{numbers.rows} rows, values {numbers.lowest}/255 to {numbers.highest}/255")


def _class_balance(sample: Artifact) -> Finding:
    """Each class has its share of the split in the sample, to within less than one row."""
    reader = sample.open()
    source = np.array(reader.facts["notes"]["rows_per_class"], np.int64)
    counts = np.zeros(len(source), np.int64)
    for columns in reader.columns():
        counts += np.bincount(columns, minlength=len(counts))
    total = int(source.sum())
    worst = int(np.abs(counts * total - counts.sum() * source).max())  # in rows / total: exact
    numbers = {"worst_deviation_rows": worst / total, "classes": int(np.count_nonzero(counts))}
    return Finding(worst < total, numbers, f"{worst / total:.3f} rows from the exact share at most")


def _size_reached(sample: Artifact) -> Finding:
    """The sample fills the requested size to within one row; a warning where the whole split is smaller than that."""
    facts = sample.manifest.facts
    numbers = {name: facts[name] for name in ("rows", "available_rows", "target_bytes", "short_by")}
    reached = not (facts["all_rows"] and facts["short_by"] > facts["data_bytes"] / facts["rows"])
    text = f"{facts['rows']} of {facts['available_rows']} rows, {facts['short_by']} bytes short of the target"
    return Finding(reached, numbers, text if reached else f"{text}: the split is smaller than the requested size")
