"""The quick tests of what differs from $BASE (`main`): those that mirror a changed folder, or lie right above them.

Floors, names and the pages of formats concern every change.
"""

import os
import subprocess
import sys
from pathlib import Path

ALWAYS = ("tests/definitions/test_floors.py", "tests/definitions/test_names.py", "tests/docs")


def git(*arguments: str) -> list[str]:
    """Lines of git's answer; none where it has no answer."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.splitlines()


os.chdir(Path(__file__).parents[1])
base = git("merge-base", "HEAD", os.environ.get("BASE", "main")) or ["HEAD"]
tests = set(map(Path, ALWAYS))
for path in map(Path, git("diff", "--name-only", base[0]) + git("ls-files", "--others", "--exclude-standard")):
    if path.parts[0] not in {"imgassets", "tests"} or len(path.parts) == 1:
        continue
    room, *rest = path.parts[1:]
    room = {"defs": "definitions"}.get(room, room).removesuffix(".py")
    tests |= {Path("tests", f"test_{room.removeprefix('test_')}.py"), *([] if rest else [Path("tests", room)])}
    if rest:
        mirror = Path("tests", room, *rest).parent
        tests |= {mirror, *(test for above in mirror.parents[:-2] for test in above.glob("test_*.py"))}
found = sorted(str(test) for test in tests if test.exists())
pytest = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-m", "not slow and not gpu"]
sys.exit(subprocess.run([*pytest, *found], check=False).returncode)
