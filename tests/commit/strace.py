"""Faults from outside: strace kills the process, or fails the call, at the n-th system call of a name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commit import victim

STRACE = shutil.which("strace")

CHANGING = [
    "open", "openat", "creat", "close", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "truncate",
    "flock", "fcntl", "rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat", "unlink", "unlinkat",
    "rmdir",
]  # fmt: skip
READING = ["read", "pread64", "stat", "lstat", "newfstatat", "fstat", "statx", "getdents64", "statfs"]
MARK = ["access", "faccessat", "faccessat2"]

_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


@dataclass(frozen=True)
class Call:
    """The `number`-th call of this name since the process began; only those of the commit itself are ever listed."""

    name: str
    number: int
    text: str


@dataclass(frozen=True)
class Ended:
    """How the traced process ended: killed, or what it printed."""

    killed: bool
    outcome: dict[str, Any] | None
    calls: list[Call]


def run(root: Path, kind: str, *, trace: list[str], inject: str | None = None) -> Ended:
    """Commit in a new process under strace; `inject` as strace has it, e.g. `write:error=EIO:when=3`."""
    assert STRACE
    log = root / "strace.log"
    command = [STRACE, "-f", "-qq", "-o", str(log), "-e", "trace=" + ",".join(f"?{name}" for name in [*trace, *MARK])]
    if inject:
        command += ["-e", f"inject={inject}"]
    # without site and bytecode writing every process makes the same calls before it begins
    command += [sys.executable, "-S", "-B", str(Path(victim.__file__)), kind, str(root), "2"]
    here = str(Path(victim.__file__).parents[2])
    env = {"PYTHONPATH": os.pathsep.join([here, sysconfig.get_path("platlib")]), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    text = log.read_text(errors="replace")
    log.unlink()
    killed = "+++ killed by SIGKILL +++" in text
    if not killed and done.returncode:
        raise AssertionError(f"strace failed: {done.stderr}")
    return Ended(killed, None if killed else json.loads(done.stdout), _calls(text))


def _calls(log: str) -> list[Call]:
    """The traced calls between the marks, with their number since the process began."""
    counts: Counter[str] = Counter()
    found: list[Call] = []
    inside = False
    for line in log.splitlines():
        if not (match := _LINE.match(line)):
            continue
        name, text = match.groups()
        if name in MARK:
            inside = victim.BEGIN in text or (inside and victim.END not in text)
            continue
        counts[name] += 1
        if inside:
            found.append(Call(name, counts[name], text[:100]))
    return found
