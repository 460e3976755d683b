"""What artifacts and raw files hold, for people and for programs."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgassets.commit import Manifest, load
from imgassets.commit.stage import MANIFEST
from imgassets.errors import BadInput

if TYPE_CHECKING:
    from imgassets.stores.storefile import StoreInfo

SHOWN = 5
"""Members of a tar, or inputs of an artifact, that are named."""


def reports(path: Path, resolution: int) -> Iterator[dict[str, Any]]:
    """What is known of an artifact, of a store of the conversion guide's code, of a file, or of every NPZ batch in a
    folder; an `error` where it is unreadable.

    Raises:
        BadInput: a folder that is no artifact and has no NPZ files, or a file of no known kind.
    """
    if manifest := _manifest(path):
        yield _artifact(path, manifest)
        return
    if path.is_file() and path.suffix in _READERS:
        yield _guarded(path, _READERS[path.suffix])
        return
    if path.is_dir():
        from imgassets.stores.codecs import guide

        if info := guide.find(path):
            yield _store(path, info)
            return
    from imgassets.sources.batches import natural_key
    from imgassets.sources.imagenet_npz import open_batch

    files = sorted(path.glob("*.npz"), key=lambda file: natural_key(file.name)) if path.is_dir() else [path]
    if not files:
        raise BadInput(f"No NPZ files found in {path}: expected train_data_batch_1.npz, … and val_data.npz.")
    if files[0].suffix != ".npz":
        known = ", ".join([".npz", *_READERS])
        raise BadInput(f"{path} is neither an artifact of the vault nor a file of a known kind ({known}).")
    for file in files:
        yield _guarded(file, lambda file: open_batch(file, resolution=resolution).inspect().report())


def describe(report: dict[str, Any]) -> str:
    """A report in a few lines of text."""
    if "error" in report:
        return f"{report['file']}: {report['error']}"
    if "labels" in report:
        return _describe_batch(report)
    head, *rest = report.items()
    return "\n".join([f"{head[1]}", *(f"  {name:<12} {_text(value)}" for name, value in rest if value not in ([], {}))])


def _manifest(path: Path) -> Manifest | None:
    for place in (path / MANIFEST, path.parent / ".imgassets" / f"{path.name}.json"):
        if place.is_file():
            return load(place)
    return None


def _artifact(path: Path, manifest: Manifest) -> dict[str, Any]:
    recipe = manifest.recipe
    return {
        "file": str(path),
        "artifact": f"{recipe.artifact}/{recipe.partition}",
        "format": recipe.format,
        "code version": recipe.code_version,
        "bytes": manifest.total_bytes,
        "checksum": manifest.checksum,
        "facts": {name: _short(fact) for name, fact in manifest.facts.items()},
        "config": dict(manifest.settings),
        "inputs": dict(recipe.inputs),
        "files": [asdict(record) for record in manifest.files],
        "exceptions": [dict(entry) for entry in manifest.exceptions],
    }


def _short(fact: Any) -> Any:
    """A fact without what is for programs alone, such as the index of a TFRecord shard."""
    return f"{fact[:40]}… ({len(fact)} characters)" if isinstance(fact, str) and len(fact) > 200 else fact


def _store(path: Path, info: StoreInfo) -> dict[str, Any]:
    return {
        "file": str(path),
        "format": info.format,
        "rows": info.rows,
        "classes": len(info.class_to_idx),
        "fields": [f"{field.name} {field.kind} {field.dtype} {list(field.shape)}" for field in info.fields],
        "files": [asdict(record) for shard in info.shards for record in shard.files],
    }


def _npy(path: Path) -> dict[str, Any]:
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {"file": path.name, "dtype": str(array.dtype), "shape": list(array.shape), "bytes": path.stat().st_size}


def _tar(path: Path) -> dict[str, Any]:
    count = total = 0
    names: list[str] = []
    with tarfile.open(path, "r:") as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # it remembers every member otherwise
            count, total = count + 1, total + member.size
            names += [member.name][: SHOWN - len(names)]
    return {"file": path.name, "members": count, "bytes": path.stat().st_size, "content": total, "first": names}


def _parquet(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = {field.name: str(field.type) for field in file.schema_arrow}
        return {"file": path.name, "rows": file.metadata.num_rows, "bytes": path.stat().st_size, "columns": columns}


_READERS = {".npy": _npy, ".tar": _tar, ".parquet": _parquet}


def _guarded(path: Path, read: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read(path)
    except Exception as error:  # that it is damaged is what there is to show
        return {"file": path.name, "error": str(error) or repr(error)}
    return found


def _text(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        shown = [f"{name} {item}" for name, item in list(value.items())[:SHOWN]]
        return ", ".join(shown) + (f" and {len(value) - SHOWN} more" if len(value) > SHOWN else "")
    if isinstance(value, list):
        shown = [item["name"] if isinstance(item, dict) and "name" in item else str(item) for item in value[:SHOWN]]
        return ", ".join(shown) + (f" and {len(value) - SHOWN} more" if len(value) > SHOWN else "")
    return str(value)


def _describe_batch(report: dict[str, Any]) -> str:
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
    if "warning" in report:
        lines.append(f"  warning  {report['warning']}")
    return "\n".join(lines)
