"""What a task may use of its machine: all of it, or the share that whoever started its process has granted."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CPUS = "IMGASSETS_GRANTED_CPUS"
MEMORY = "IMGASSETS_GRANTED_MEMORY"


def granted_cpus() -> int:
    """Processors."""
    return int(os.environ.get(CPUS) or len(os.sched_getaffinity(0)))


def granted_memory() -> int:
    """Bytes of memory that may be used and are free."""
    free = free_memory()
    return min(free, int(os.environ.get(MEMORY) or free))


def share(of: int) -> dict[str, str]:
    """Environment of a process that is granted one of `of` equal shares of what this one has."""
    cpus = str(max(1, granted_cpus() // of))
    return {CPUS: cpus, MEMORY: str(granted_memory() // of), "OMP_NUM_THREADS": cpus}


def free_memory() -> int:
    """Bytes of memory that can still be used: what the machine has free, or what the container may still take."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, IndexError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(limit - used, 0))
    return free
