"""Changes bytes of whatever is read, and finds what ends otherwise than by an error of ours that names the file.

python -m tests.fuzz [READER …] [--seconds 600] [--seed 0] [--first 0] [--inputs N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.fuzz.fuzzing import SLOW, fuzz
from tests.fuzz.readers import BOUNDED, READERS


def main() -> int:
    """Exit code 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", 600)))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FUZZ_SEED", time.time_ns() % 1_000_000)))
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--inputs", type=int, help="how many; without it, as many as the time allows")
    asked = parser.parse_args()
    names = asked.readers or list(READERS)
    if names == [BOUNDED]:
        os.environ["NUMBA_BOUNDSCHECK"] = "1"  # numba looks when it is imported
    if len(names) == 1:
        tried, found = fuzz(names[0], asked.seed, asked.seconds, asked.inputs, asked.first)
        kinds = {finding.kind: finding for finding in reversed(found)}
        told = f"{names[0]}: {tried} inputs, {len(found)} found (seed {asked.seed})"
        print(*kinds.values(), told, sep="\n", flush=True)
        return bool(found)
    return max([_alone(name, asked.seed, asked.seconds / len(names)) for name in names])


def _alone(name: str, seed: int, seconds: float) -> int:
    """In a process of its own: a reader may end it, or hang."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", name, "--seconds", str(seconds)]
    try:
        ended = subprocess.run([*command, "--seed", str(seed)], timeout=seconds + 60 + 2 * SLOW)
    except subprocess.TimeoutExpired:
        print(f"{name}: hangs (seed {seed})", flush=True)
        return 1
    if ended.returncode < 0:
        print(f"{name}: ended by signal {-ended.returncode} (seed {seed})", flush=True)
    return min(1, abs(ended.returncode))


if __name__ == "__main__":
    sys.exit(main())
