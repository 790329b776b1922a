"""How often the kernel has killed a process of this job for lack of memory: a job's limits are a control group's."""

from __future__ import annotations

import re
from pathlib import Path

_PLACES = (
    (re.compile(r"^0::(/.*)$", re.MULTILINE), "/sys/fs/cgroup{}/memory.events"),
    (re.compile(r"^\d+:[^:\n]*\bmemory\b[^:\n]*:(/.*)$", re.MULTILINE), "/sys/fs/cgroup/memory{}/memory.oom_control"),
)
"""Of versions 2 and 1: the group's path in ``/proc/self/cgroup``, and the file that counts."""


def memory_kills(root: Path = Path("/")) -> int | None:
    """Kills so far in this process's control group; None where nobody counts them."""
    try:
        groups = (root / "proc/self/cgroup").read_text()
    except OSError:
        return None
    for path, place in _PLACES:
        group = path.search(groups)
        if group is None:
            continue
        try:
            events = (root / place.format(group[1].rstrip("/")).lstrip("/")).read_text()
        except OSError:
            continue
        if count := re.search(r"^oom_kill (\d+)$", events, re.MULTILINE):
            return int(count[1])
    return None
