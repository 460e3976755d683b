"""What raw NPZ files hold, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imgassets.errors import BadInput
from imgassets.sources.batches import natural_key
from imgassets.sources.imagenet_npz import open_batch


def reports(path: Path, resolution: int) -> Iterator[dict[str, Any]]:
    """The inspection report of an NPZ file, or of every one in a folder in natural order; an `error` where unreadable.

    Raises:
        BadInput: a folder without NPZ files.
    """
    files = sorted(path.glob("*.npz"), key=lambda file: natural_key(file.name)) if path.is_dir() else [path]
    if not files:
        raise BadInput(f"No NPZ files found in {path}: expected train_data_batch_1.npz, … and val_data.npz.")
    for file in files:
        try:
            yield open_batch(file, resolution=resolution).inspect().report()
        except BadInput as error:
            yield {"file": file.name, "error": str(error)}


def describe(report: dict[str, Any]) -> str:
    """A report in a few lines of text."""
    if "error" in report:
        return f"{report['file']}: {report['error']}"
    labels, difference = report["labels"], report["mean_difference"]
    lines = [
        f"{report['file']}: {report['rows']:,} images of {report['resolution']}×{report['resolution']}",
        f"  labels   {labels['min']}..{labels['max']}, {labels['classes_present']} classes",
        *(
            f"  {name}        {channel['min']}..{channel['max']}, mean {channel['mean']:.2f}, std {channel['std']:.2f}"
            for name, channel in report["channels"].items()
        ),
        "  mean     none declared"
        if difference is None
        else f"  mean     declared, differs by {difference:.3f} at most",
    ]
    for member in report["members"]:
        shape = "×".join(map(str, member["shape"]))
        lines.append(
            f"  {member['name']:<12} {member['dtype']} {shape}, {member['method']}, crc {member['crc32']} verified"
        )
    return "\n".join(lines)
