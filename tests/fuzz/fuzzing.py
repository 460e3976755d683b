"""One reader given changed files, one after the other, as its seed has it."""

from __future__ import annotations

import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgassets.errors import ImgassetsError
from tests.fuzz.mutations import mutate
from tests.fuzz.readers import READERS, SINGLE, Reader

SLOW = 20.0
"""Seconds after which an input counts as hanging."""
MEMORY = 500 << 20
"""Bytes by which the process may grow over all inputs."""


@dataclass(frozen=True)
class Finding:
    """An input that ended otherwise than by being read, or by an error of ours that names the file."""

    reader: str
    seed: int
    number: int
    file: str
    problem: str

    @property
    def kind(self) -> str:
        """The same for what has the same cause."""
        return self.problem.partition(": ")[0]

    def __str__(self) -> str:
        again = f"python -m tests.fuzz {self.reader!r} --seed {self.seed} --first {self.number} --inputs 1"
        return f"{self.reader}, {self.file}: {self.problem}\n    {again}"


class Fuzzing:
    """Sound files of one reader, and changed ones beside them."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self.name, self.seed, self.reader = name, seed, READERS[name]
        self._folder, self._sound = folder, folder / "sound"
        self.reader.make(self._sound)
        self._all = [path for path in sorted(self._sound.rglob("*")) if path.is_file() and not path.is_symlink()]
        self._files = [path for path in self._all if path in set(self._sound.glob(self.reader.files))]
        for k, file in enumerate(self._files):
            self.reader.read(self._copy(file, file.read_bytes(), f"as-it-is-{k}"))

    def inputs(self, first: int = 0) -> Iterator[Finding | None]:
        """What is found in each input, without end."""
        number = first
        while True:
            yield self._try(number)
            number += 1

    def _try(self, number: int) -> Finding | None:
        rng = random.Random(f"{self.name} {self.seed} {number}")
        file = rng.choice(self._files)
        name = str(file.relative_to(self._sound))
        root = self._copy(file, mutate(file.read_bytes(), rng), str(number))
        begin = time.monotonic()
        try:
            problem = _read(self.reader, root)
        finally:
            shutil.rmtree(root.parent)
        if not problem and time.monotonic() - begin > SLOW:
            problem = f"took {time.monotonic() - begin:.0f} s"
        return Finding(self.name, self.seed, number, name, problem) if problem else None

    def _copy(self, changed: Path, data: bytes, name: str) -> Path:
        """The files, one of them changed; the others are links, for none is ever written."""
        root = self._folder / f"input-{name}" / "files"
        for file in [changed] if self.name in SINGLE else self._all:
            target = root / file.relative_to(self._sound)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file == changed:
                target.write_bytes(data)
            else:
                os.link(file, target)
        for place in self._sound.rglob("*"):
            if place.is_dir():
                (root / place.relative_to(self._sound)).mkdir(parents=True, exist_ok=True)
        return root


def _read(reader: Reader, root: Path) -> str:
    """What is wrong with how a folder was read; empty if nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader.read(root)
        except reader.own:
            return ""
        except ImgassetsError as error:
            parts = {part for path in root.rglob("*") if path.is_file() for part in (path.name, path.stem)}
            named = any(part in str(error) for part in {str(root), *reader.names, *parts})
            return "" if named else f"an error that names no file: {error}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "/imgassets/" in f.filename]
            place = f"{frames[-1].filename.rpartition('/imgassets/')[2]}:{frames[-1].lineno}" if frames else "?"
            return f"{type(error).__name__} at {place}: {str(error)[:160]}"
    return ""


def fuzz(name: str, seed: int, seconds: float, inputs: int | None = None, first: int = 0) -> tuple[int, list[Finding]]:
    """Number of inputs tried, and what was found, within about `seconds`."""
    found, tried = list[Finding](), 0
    with tempfile.TemporaryDirectory(prefix="imgassets-fuzz-", ignore_cleanup_errors=True) as folder:
        fuzzing = Fuzzing(name, seed, Path(folder))
        end = time.monotonic() + seconds
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for finding in fuzzing.inputs(first):
            tried += 1
            if finding:
                found.append(finding)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            if grown > MEMORY:
                found.append(Finding(name, seed, first + tried - 1, "", f"grew by {grown >> 20} MiB"))
                break
            if tried == inputs or time.monotonic() > end:
                break
    return tried, found
