"""A small vault and home, with every kind of asset, made by whichever version of imgassets is imported.

The archives beside this file were each made by the commit in their name: in a checkout of that commit, with this file
copied into it, `python -m tests.upgrade.making vault-COMMIT.tar.xz`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import imgassets
from imgassets.sample_data import ct_rate, dmd2, folders, ilsvrc2012, imagenet64

DATASETS = {
    "imagenet64": "type: imgassets.components.NpzImages\nattributes: {name: imagenet64, train_batches: [1, 2]}\n",
    "imagenet64_other": (
        "type: imgassets.components.NpzImages\nattributes: {name: imagenet64_other, root: imagenet64, val: false, "
        "train_batches: [1, 2], csv_size_gb: 0.0002, seed: 3, binary_block: true, stores: [parquet], "
        "store_settings: {images_per_file: 5, parquet_compression: zstd}}\n"
    ),
    "ilsvrc2012": (
        "type: imgassets.components.IlsvrcTars\nattributes: {name: ilsvrc2012, shards: {train: 3, validation: 2}}\n"
    ),
    "ilsvrc_other": (
        "type: imgassets.components.IlsvrcTars\nattributes: {name: ilsvrc_other, root: ilsvrc2012, splits: [train], "
        "shards: {train: 2}, seed: 5, spread: even, labels: present, stores: [memmap], size: [24, 24]}\n"
    ),
    "ct_rate": (
        "type: imgassets.components.CtVolumes\nattributes: {name: ct_rate, "
        "repository: \"{{ env('IMGASSETS_CT_REPO', '') }}\", samples_per_shard: 2, shape: [24, 24, 16], "
        "spacing: [12.0, 10.0, 15.0]}\n"
    ),
    "mini": "type: imgassets.components.ImageFolder\nattributes: {name: mini, root: folders/mini}\n",
    "mini_dense": (
        "type: imgassets.components.ImageFolder\nattributes: {name: mini_dense, root: dense/mini/images, "
        "labels: dense/mini/labels, size: [32, 32]}\n"
    ),
    "dmd2": (
        "type: imgassets.components.Activations\nattributes: {name: dmd2, npz: imagenet64, storage: pooled, "
        "generated_chunks: 1, generated_per_chunk: 8, umap_neighbors: 3}\n"
    ),
    "dmd2_folder": (
        "type: imgassets.components.Activations\nattributes: {name: dmd2_folder, folder: mini, storage: pooled, "
        "class_conditioning: false, num_samples: 8, seed: 4, single_files: true, generated_chunks: 1, "
        "generated_per_chunk: 8, umap_neighbors: 3}\n"
    ),
}
"""`defs.yaml` by dataset: settings at their defaults, and others."""
COMMAND = [sys.executable, "-c", "from imgassets.cli import main; main()"]


def raw(folder: Path) -> None:
    """The sample data's kinds of input, but a few kB of each."""
    imagenet64.ROWS, imagenet64.VAL_ROWS, imagenet64.CLASSES = (6, 5), 7, 3
    ilsvrc2012.TRAIN_IMAGES, ilsvrc2012.CLASSES, ilsvrc2012.VALIDATION_IMAGES = (4, 3, 5), 3, 5
    folders.PER_CLASS, folders.DENSE = 3, 3
    dmd2.CONFIG = dmd2.NetworkConfig(model_channels=8, channel_mult=(1, 1, 1, 1), num_blocks=1, attn_resolutions=())
    for write in (imagenet64.write, ilsvrc2012.write, folders.write_classes, folders.write_labelled, dmd2.write):
        write(folder)
    for path, data in ct_rate.files(shape=(20, 20, 12), spacing=(14.0, 12.0, 20.0)):
        place = folder / "ct_rate" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def package(folder: Path, datasets: Path) -> dict[str, str]:
    """A copy of the package that has only these datasets, and the environment that runs it."""
    source = Path(imgassets.__file__).parent
    shutil.copytree(source, folder / "imgassets", ignore=shutil.ignore_patterns("__pycache__", "defs"))
    shutil.copytree(datasets, folder / "imgassets" / "defs")
    shutil.copy(source.parent / "pyproject.toml", folder)
    return {**os.environ, "PYTHONPATH": str(folder)}


def environment(folder: Path) -> dict[str, str]:
    """What `imgassets` needs to know to work on such a vault and home."""
    return {
        "DAGSTER_HOME": str(folder / "home"),
        "IMGASSETS_RAW": str(folder / "raw"),
        "IMGASSETS_STORE": str(folder / "store"),
        "IMGASSETS_CT_REPO": str(folder / "raw" / "ct_rate"),
    }


def main(archive: Path) -> None:
    """Make everything and pack it."""
    folder, code = Path("/tmp/imgassets-vault"), Path(tempfile.mkdtemp())  # noqa: S108  (it stands in the records)
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in DATASETS.items():
        (folder / "defs" / name).mkdir(parents=True)
        (folder / "defs" / name / "defs.yaml").write_text(text)
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    raw(folder / "raw")
    environ = package(code, folder / "defs") | environment(folder)
    subprocess.run([*COMMAND, "backfill", "*"], env=environ, cwd=folder, check=True)
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        packed.add(folder, ".", filter=_anonymous)


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main(Path(sys.argv[1]))
