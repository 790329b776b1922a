"""Memory in huge pages, for computing on a CPU.

Each layer of a network allocates its result anew, and what is large comes from the system page by page: on a CPU up to
half of the time goes there. torch asks Linux for pages of 2 MiB where ``THP_MEM_ALLOC_ENABLE`` is set.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "THP_MEM_ALLOC_ENABLE"
"""Read by torch (``c10/core/impl/alloc_cpu.cpp``) when it first allocates."""
SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask_for_huge_pages() -> None:
    """Set the variable where the system has huge pages, unless the user has set it."""
    try:
        modes = SYSTEM.read_text()
    except OSError:  # another system, or a kernel without them
        return
    if "[never]" not in modes:
        os.environ.setdefault(VARIABLE, "1")
