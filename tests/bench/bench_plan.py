"""What the full releases take, as `imgassets plan` foresees it, from sparse files of their size and a made-up index.

Nothing of the releases is needed: a plan reads headers, sizes and indexes.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

CHECKOUT = Path(__file__).parents[2]
TRAIN, VALIDATION = 1_281_167, 50_000
ARCHIVES = {"ILSVRC2012_img_train.tar": 147_897_477_120, "ILSVRC2012_img_val.tar": 6_744_924_160}
"""Published sizes (image-net.org)."""
VOLUMES = {"train": 47_149, "valid": 3_039}
REPORT_WORDS = 170
"""Reports of CT-RATE have some 1,200 characters."""
VOLUME_BYTES = 250 << 20
"""Of a compressed volume: a guess that decides only what is read."""
SELECTIONS = ("group:imagenet64", "group:ilsvrc2012", "+dmd2/embedding", "+dmd2/reconstructions", "ct_rate/shards")


def sparse_npz(path: Path, rows: int) -> None:
    """A batch whose headers are those of a real one and whose pixels are a hole in the file."""
    members = []
    with path.open("wb") as file:
        for name, array, size in (
            ("data.npy", np.lib.format.header_data_from_array_1_0(np.empty((0, 12288), np.uint8)), rows * 12288),
            ("labels.npy", np.lib.format.header_data_from_array_1_0(np.empty(0, np.int64)), rows * 8),
        ):
            header = _npy_header({**array, "shape": (rows, 12288) if name == "data.npy" else (rows,)})
            start, total = file.tell(), len(header) + size
            file.write(_zip_header(b"PK\3\4" + struct.pack("<H", 20), name, total))
            file.write(header)
            file.seek(size, os.SEEK_CUR)
            members.append((name, start, total))
        directory = file.tell()
        for name, start, total in members:
            fields = struct.pack("<HHH", 0, 0, 0) + struct.pack("<LL", 0, start)
            file.write(_zip_header(b"PK\1\2" + struct.pack("<HH", 20, 20), name, total, fields))
        size = file.tell() - directory
        file.write(b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, len(members), len(members), size, directory, 0))


def _zip_header(begin: bytes, name: str, size: int, more: bytes = b"") -> bytes:
    middle = struct.pack("<HHHHLLLHH", 0, 0, 0, 33, zlib.crc32(b""), size, size, len(name), 0)
    return begin + middle + more + name.encode()


def _npy_header(description: dict[str, Any]) -> bytes:
    text = f"{{'descr': {description['descr']!r}, 'fortran_order': False, 'shape': {description['shape']!r}, }}"
    text = text.ljust(128 - 11) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def raw_inputs(raw: Path) -> None:
    """Files of the releases' sizes that take no room."""
    (raw / "imagenet64").mkdir(parents=True)
    (raw / "ilsvrc2012").mkdir()
    (raw / "dmd2").mkdir()
    for number in range(10):
        rows = TRAIN // 10 + (number < TRAIN % 10)
        sparse_npz(raw / "imagenet64" / f"train_data_batch_{number + 1}.npz", rows)
    sparse_npz(raw / "imagenet64" / "val_data.npz", VALIDATION)
    for name, size in ARCHIVES.items():
        with (raw / "ilsvrc2012" / name).open("wb") as file:
            file.truncate(size)
    (raw / "ilsvrc2012" / "synset_labels.txt").write_text("n01440764\n" * VALIDATION)
    (raw / "dmd2" / "checkpoint.pth").write_bytes(b"")


def ct_index() -> None:
    """An index of as many volumes as CT-RATE has, committed as a run would, and its partitions."""
    import dagster as dg

    from imgassets.commit import Recipe
    from imgassets.components.ct.index import table_of
    from imgassets.formats.index import Index, write_index
    from imgassets.operations.selection import graph
    from imgassets.sources.ct_rate import VolumeRow
    from imgassets.sources.hub import RemoteFile

    asset = graph().assets[dg.AssetKey(["ct_rate", "volume_index"])]
    rng = np.random.default_rng(0)
    letters = rng.integers(ord("a"), ord("z") + 1, (4000, 6), np.uint8).tobytes().decode()
    words = np.array([letters[at : at + 6] for at in range(0, len(letters), 6)])
    with dg.DagsterInstance.get() as instance:
        for split, count in VOLUMES.items():
            volumes = []
            for n in range(count):
                key = f"{split}_{n // 2}_{'ab'[n % 2]}_1"
                report = " ".join(rng.choice(words, REPORT_WORDS))
                file = RemoteFile(f"dataset/{split}_fixed/{key}.nii.gz", VOLUME_BYTES, f"{n:064x}")
                volumes.append(VolumeRow(key, file, (0.75, 0.75, 1.5), (1.0, 0.0), (0, 1) * 9, report, None, n // 128))
            shards = -(-count // 128)
            facts = {"revision": "0" * 40, "shards": shards, "samples_per_shard": 128, "volumes_in_shards": count}
            index = Index(table_of(volumes, split), {}, facts)
            artifact = asset.artifact(split)
            recipe = Recipe(asset.name, split, {}, {}, asset.io_manager.format, asset.code_version)
            artifact.vault.commit(artifact.location, recipe, lambda stage, index=index: write_index(index, stage))
            instance.add_dynamic_partitions("ct_rate_shards", [f"{split}-{n:06d}" for n in range(shards)])


def tar_indexes(raw: Path) -> None:
    """Indexes of as many images as the archives hold, committed as a run would."""
    import dagster as dg

    from imgassets.commit import Recipe
    from imgassets.formats.index import Index, write_index
    from imgassets.operations.selection import graph

    found = graph()
    asset = found.assets[dg.AssetKey(["ilsvrc2012", "tar_index"])]
    for archive in (raw / "ilsvrc2012").iterdir():
        found.resources["storage"].vault.checksums.remember(archive, "0" * 32)
    builds = asset.builds(found.resources, {}, {})
    for split, count in (("train", TRAIN), ("validation", VALIDATION)):
        build, artifact = builds.build(split), asset.artifact(split)
        recipe = Recipe(asset.name, split, build.inputs, build.config, asset.io_manager.format, asset.code_version)
        index = Index(tar_table(split, count), {})
        artifact.vault.commit(artifact.location, recipe, lambda stage, index=index: write_index(index, stage))


def tar_table(split: str, count: int) -> pa.Table:
    """Rows as those of the release: names of its length, sizes of its mean, pixels around 500 × 400."""
    import pyarrow as pa

    from imgassets.classes import imagenet_classes
    from imgassets.sources.tar_index import schema

    rng = np.random.default_rng(0)
    synsets = imagenet_classes().synsets
    class_id = np.arange(count) * 1000 // count if split == "train" else rng.integers(0, 1000, count)
    size = (rng.lognormal(11.4, 0.6, count)).astype(np.int64)
    if split == "train":
        names = [f"{synsets[k]}_{n}.JPEG" for n, k in enumerate(class_id.tolist())]
    else:
        names = [f"ILSVRC2012_val_{n + 1:08d}.JPEG" for n in range(count)]
    digests = rng.bytes(16 * count).hex()
    width, height = rng.integers(300, 700, count), rng.integers(200, 600, count)

    def same(text: str) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int16)), [text])

    columns = {
        "index": np.arange(count),
        "synset": pa.DictionaryArray.from_arrays(pa.array(class_id.astype(np.int16)), list(synsets)),
        "class_id": class_id.astype(np.int16),
        "label": (class_id + 1).astype(np.int16),
        "name": names,
        "offset": np.cumsum(size + 1024),
        "size": size,
        "width": width.astype(np.int32),
        "height": height.astype(np.int32),
        "colour": same("rgb"),
        "format": same("JPEG"),
        "md5": [digests[at : at + 32] for at in range(0, 32 * count, 32)],
        "xxh3_64": rng.integers(0, 2**64, count, np.uint64),
        "warning": pa.nulls(count, pa.string()),
        "problem": pa.nulls(count, pa.string()),
    }
    return pa.table([columns[name] for name in schema().names], schema=schema())


def show(selection: str, told: set[str]) -> None:
    """Plan a selection in a process of its own and print what it foresees of assets that are not `told` yet."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    script = f"from imgassets.cli import main; main(['plan', {selection!r}, '--json'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=CHECKOUT)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    document = json.loads(done.stdout)
    for step in document["partitions"]:
        found[step["asset"]].append(step)
    for asset, steps in found.items():
        if asset in told:
            continue
        told.add(asset)
        read, write, seconds = (sum(step[n] or 0 for step in steps) for n in ("read", "write", "seconds"))
        unknown = sum(step["write"] is None for step in steps)
        size = f"{write / 1e9:11,.1f}" if not unknown else f"{'?':>11}"
        sys.stdout.write(f"{asset:28}{len(steps):11}{read / 1e9:11,.1f}{size}{seconds / 3600:8.1f}\n")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = (document["totals"]["memory"] or 0) / 1e9
    sys.stdout.write(f"  {selection}: planned in {wall:.1f} s ({cpu:.1f} s of CPU); most memory {memory:.1f} GB\n")


def main() -> None:
    """Print one table."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", home)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("IMGASSETS")}
        os.environ.clear()
        os.environ.update(kept | {"DAGSTER_HOME": name, "PYTHONPATH": str(CHECKOUT)})
        raw_inputs(home / "raw")
        ct_index()
        sys.stdout.write(f"{'asset':28}{'partitions':>11}{'reads GB':>11}{'writes GB':>11}{'hours':>8}\n")
        told: set[str] = set()
        for selection in SELECTIONS:
            show(selection, told)
        tar_indexes(home / "raw")
        sys.stdout.write("once ILSVRC2012 is indexed:\n")
        show("group:ilsvrc2012", set())


if __name__ == "__main__":
    main()
