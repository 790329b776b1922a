"""What the machine is, and what it can do at best: measured in the run whose times are held against it."""

from __future__ import annotations

import functools
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F


class Limits(NamedTuple):
    """Of one device, with the threads in use."""

    matrix_product: float
    """Multiplications a second."""
    convolution: float
    """The same, 3×3×3 on 64 channels."""
    bytes_per_second: float
    """Read and written, of a copy that no cache holds."""

    @property
    def multiplications_per_second(self) -> float:
        return max(self.matrix_product, self.convolution)


@functools.cache
def limits(device: torch.device, dtype: torch.dtype, *, smoke: bool = False) -> Limits:
    """The best of a few calls each; a second on one core."""
    edge, volume, numbers = (64, 8, 2**16) if smoke else (2048, 32, 2**25)
    if device.type == "cuda" and not smoke:
        edge, volume, numbers = 8192, 128, 2**28
    a, b = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    image = torch.randn(1, 64, volume, volume, volume, device=device, dtype=dtype)
    kernel = torch.randn(64, 64, 3, 3, 3, device=device, dtype=dtype)
    source = torch.rand(numbers, device=device)
    target = torch.ones_like(source)
    with torch.no_grad():
        return Limits(
            edge**3 / _best(lambda: a @ b, device),
            volume**3 * 27 * 64 * 64 / _best(lambda: F.conv3d(image, kernel, padding=1), device),
            2 * 4 * numbers / _best(lambda: target.copy_(source), device),
        )


def _best(call: Callable[[], object], device: torch.device, repeats: int = 4) -> float:
    """The shortest of some times, in seconds: of the processor where it is a single one, as it may be busy."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    taken = []
    for _ in range(1 + repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(clock() - start)
    return min(taken[1:])


def describe(device: torch.device) -> dict[str, Any]:
    """For the head of a table, and its JSON."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_resident() -> int:
    """The largest size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would tell the parent's, where that was larger when it started this process
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
