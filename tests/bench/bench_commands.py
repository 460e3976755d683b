"""CPU of short commands, as multiples of `import dagster`: `PYTHONPATH=. python tests/bench/bench_commands.py`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
OURS = "import sys; from imgassets.cli import main; main(sys.argv[1:])"


def cpu(home: Path, script: str, *arguments: str) -> float:
    """Seconds of the quickest of some runs, after one that compiles what is not compiled yet."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(1 + ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=environment | {"DAGSTER_HOME": str(home)},
            capture_output=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found[1:])


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "cats" / "tabby").mkdir(parents=True)
        (home / "cats" / "tabby" / "1.jpg").write_bytes(b"\xff\xd8\xff")
        base = cpu(home, "import dagster")
        sys.stdout.write(f"import dagster: {base:.2f} s\n")
        for arguments in (
            ["--help"],
            ["settings"],
            ["completion", "bash"],
            ["inspect", str(home / "cats")],
            ["trace", "imagenet64/arrays/val_data"],
            ["status", "imagenet64/arrays"],
        ):
            sys.stdout.write(f"{' '.join(arguments):32} {cpu(home, OURS, *arguments) / base:.2f}\n")
        records = cpu(home, "import dagster; dagster.DagsterInstance.get()")
        sys.stdout.write(f"{'Dagster opens its records':32} {records / base:.2f}\n")


if __name__ == "__main__":
    main()
