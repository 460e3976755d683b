"""`convert`: images of a folder or a dataset into an image store, by one process or by many that share a folder.

Example:
    >>> convert("caltech256", "out/caltech256", format="memmap", size=(224, 224), images_per_file=5000)

With `world_size` processes each writes the shards `rank`, `rank + world_size`, … and the last one to finish puts the
store together. The result is, byte for byte, that of one process; shards of a process that died are made by whoever is
started again, with any rank and world size.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xxhash

from imgassets.commit import Location, Recipe, Stage, Vault, Written, load
from imgassets.commit.manifest import unsaid
from imgassets.errors import StoreError, Taken
from imgassets.interrupts import in_order
from imgassets.progress import Progress
from imgassets.ranks import job_rank
from imgassets.sources.base import Source
from imgassets.sources.dataset import from_dataset
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import ClassOrder, class_folder, label_folder, listing
from imgassets.sources.resized import Resized
from imgassets.stores.storefile import Shard
from imgassets.stores.writing import StorePlan, finish_store, write_shard, write_store

DEFAULTS: dict[str, Any] = {
    "images_per_file": None,
    "on_error": "fail",
    "options": {},
    "mode": "RGB",
    "split": "train",
    "layout": "own",
}
"""What recipes leave out; these never change."""
POLL = 0.5
"""Seconds between two looks at what the other processes have done."""


def convert(
    input: str | os.PathLike[str] | Source | Any,  # noqa: A002  (the word everybody uses)
    output: str | os.PathLike[str],
    *,
    format: str = "memmap",  # noqa: A002
    labels: str | os.PathLike[str] | None = None,
    label_suffix: str = "",
    size: tuple[int, int] | None = None,
    mode: str = "RGB",
    class_order: ClassOrder = "natural",
    images_per_file: int | None = None,
    on_error: str = "fail",
    threads: int = 2,
    options: Mapping[str, Any] | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    wait: float = 0,
    layout: str = "own",
    split: str = "train",
    force: bool = False,
    say: Any = None,
) -> Path | None:
    """Write an image store to the folder `output`; nothing is done if it is there, made from the same files.

    Args:
        input: a folder of class folders (of images, with `labels`), a torch dataset of (image, label), or a `Source`.
        output: the store; a version that is there stays whole until the new one replaces it.
        labels: folder of label images.
        label_suffix: what these have at the end of their name, e.g. `_mask`.
        size: (height, width) of all images; None keeps the files as they are.
        mode: Pillow's mode of the pixels.
        class_order: how class folders are numbered: `natural` (class2, class10), `text` (class10, class2, as
            torchvision's `ImageFolder` has them) or `imagenet` (by synset, 0..999).
        images_per_file: samples in a shard; default: about 1 GiB.
        on_error: `fail`, or `skip` what cannot be used and list it.
        threads: threads that read and decode.
        options: of the format, e.g. `{"compression": "zstd"}` for Parquet.
        rank, world_size: of this process; default: `torch.distributed`, torchrun's or SLURM's variables, else 0 of 1.
        wait: seconds to wait for the other processes; after that, and with 0 at once, None is returned.
        layout: `huggingface` stores images of one size as PNG files, which `datasets` shows as images; `guide` is what
            the conversion guide's own readers read.
        split: what `datasets` is to call the samples, where the format has a place for it (Parquet).
        force: write again what is there.
        say: takes a line of text about progress every few seconds, e.g. `print`.

    Returns:
        The store's folder, or None if other processes have yet to finish their shards.

    Ctrl-C and SIGTERM take back what is half written; the next call goes on, where processes share the work.

    Raises:
        BadInput: something is wrong with the input, or the settings.
        StoreError: the disk is full, or somebody else writes there.
    """
    here, world = job_rank(rank, world_size)
    source, inputs = _source(
        input, labels, size, {"mode": mode, "order": class_order, "on_error": on_error, "suffix": label_suffix}
    )
    plan = StorePlan(format, images_per_file, on_error, options or {}, threads, layout, split)  # type: ignore[arg-type]
    source = plan.prepared(source)
    config = {
        "images_per_file": images_per_file,
        "on_error": on_error,
        "options": dict(plan.options),
        "split": split,
        "layout": layout,
    }
    path = Path(output).absolute()
    config |= source.about
    codec = plan.codec
    recipe = Recipe(path.name, "all", inputs, unsaid(config, DEFAULTS), codec.format, "1", DEFAULTS, kept=codec.kept)
    job = _Job(source, plan, recipe, path, force or not inputs, say)
    with in_order():
        return job.alone() if world == 1 and not job.parts.exists() else job.together(here, world, wait)


@dataclass(frozen=True)
class _Job:
    source: Source
    plan: StorePlan
    recipe: Recipe
    path: Path
    force: bool
    say: Any

    @property
    def parts(self) -> Path:
        """Where processes put their shards until all are there."""
        return self.path.with_name(f".{self.path.name}.parts")

    @property
    def location(self) -> Location:
        return Location(self.path.parent, self.path, folder=True)

    def alone(self) -> Path:
        """Write the whole store."""
        state = Path(os.environ.get("DAGSTER_HOME") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

        def write(stage: Stage) -> Written:
            self._report(stage, self.path.name)
            return write_store(self.source, stage, self.plan)

        Vault(self.path.parent, state / "imgassets").commit(self.location, self.recipe, write, force=self.force)
        return self.path

    def together(self, rank: int, world: int, wait: float) -> Path | None:
        """Write this process's shards, then the store if it is the last, or wait for whoever is."""
        if self._finished():
            return self.path
        count = len(self.plan.shards(self.source))
        for k in range(rank, count, world):
            self._write_part(k)
        deadline = time.monotonic() + wait
        while True:
            if all(self._part_is_there(k) for k in range(count)):
                self._assemble(count)
            if self._finished():
                return self.path
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL)

    def _part(self, k: int) -> Location:
        return Location(self.parts, self.parts / f"shard-{k:06d}", folder=True)

    def _part_recipe(self, k: int) -> Recipe:
        return replace(self.recipe, partition=f"shard-{k:06d}", kept=())

    def _write_part(self, k: int) -> None:
        def write(stage: Stage) -> Written:
            self._report(stage, f"{self.path.name} shard {k}")
            return Written({"rows": write_shard(self.source, stage, self.plan, k).rows})

        try:
            Vault(self.parts, self.parts / "state").commit(self._part(k), self._part_recipe(k), write)
        except StoreError:
            if not self._finished():  # else another process saw the last shard, and put all together meanwhile
                raise

    def _part_is_there(self, k: int) -> bool:
        return _made_by(self._part_recipe(k), self._part(k))

    def _finished(self) -> bool:
        return not self.parts.exists() and _made_by(self.recipe, self.location)

    def _assemble(self, count: int) -> None:
        """Move the shards together; the lock lets one process do it, the others find it done."""

        def write(stage: Stage) -> Written:
            shards = []
            for k in range(count):
                part = self._part(k)
                for record in load(part.manifest).files:
                    stage.link(part.file(record.name), record)
                shards.append(Shard.from_bytes(part.file(self.plan.record(k)).read_bytes()))
            return finish_store(self.source, stage, self.plan, shards)

        try:
            Vault(self.path.parent, self.parts / "state").commit(self.location, self.recipe, write, force=True)
        except Taken:  # by another process that saw the last shard
            return
        except StoreError:
            if self._finished():
                return
            raise
        shutil.rmtree(self.parts, ignore_errors=True)

    def _report(self, stage: Stage, what: str) -> None:
        if self.say is not None:
            stage.progress = Progress(self.say, what)


def _made_by(recipe: Recipe, location: Location) -> bool:
    try:
        return recipe.makes(load(location.manifest).recipe)
    except (OSError, StoreError):
        return False


def _source(
    given: Any, labels: str | os.PathLike[str] | None, size: tuple[int, int] | None, how: dict[str, Any]
) -> tuple[Source, dict[str, str]]:
    """The source, and checksums of its files where it has any."""
    mode = how["mode"]
    if isinstance(given, Source):
        return given, {}
    if not isinstance(given, str | os.PathLike):
        return from_dataset(given, size=size, mode=mode if size else ""), {}
    folder = Path(given)
    if labels is None:
        files = class_folder(folder, mode=mode, order=how["order"], on_error=how["on_error"])
    else:
        files = label_folder(folder, Path(labels), mode=mode, suffix=how["suffix"])
    return (files if size is None else Resized(files, size, mode)), {folder.name: _stamp(files)}


def _stamp(files: ImageFiles) -> str:
    """Over names, sizes and times of all files: a conversion outside the platform does not read every file twice."""
    digest = xxhash.xxh3_128()
    for name, path in listing(files):
        stat = path.stat() if path.exists() else None
        digest.update(f"{name}\0{stat and (stat.st_size, stat.st_mtime_ns)}\n".encode())
    return digest.hexdigest()
