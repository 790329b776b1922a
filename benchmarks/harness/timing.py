"""Times of methods that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch


class Times(NamedTuple):
    """Of one call, in seconds."""

    wall: float
    cpu: float
    """Of all processors together, this process only."""
    gpu: float | None
    """Between two events on the GPU's stream."""


class Spread(NamedTuple):
    """Median and quartiles of some samples."""

    median: float
    low: float
    high: float
    samples: list[float]

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """
        >>> Spread.of([4.0, 1.0, 2.0, 3.0, 10.0])[:3]
        (3.0, 2.0, 4.0)
        >>> Spread.of([2.0])[:3]
        (2.0, 2.0, 2.0)
        """
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0], list(samples))
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, low, high, list(samples))


def turns(names: Sequence[str], repeats: int) -> list[str]:
    """Who is called when: all of them in each repeat, every other one backwards, so that a machine that becomes slower
    or faster meanwhile favours nobody.

    >>> turns(["a", "b"], 3)
    ['a', 'b', 'b', 'a', 'a', 'b']
    """
    return [name for repeat in range(repeats) for name in (names if repeat % 2 == 0 else names[::-1])]


def interleave(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, warm_up: int, device: torch.device
) -> tuple[dict[str, list[Times]], dict[str, Any]]:
    """The times of every call, and what the last one of each returned; ``warm_up`` repeats come first, untimed."""
    times: dict[str, list[Times]] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for name in turns(list(calls), warm_up):
        results[name] = calls[name]()
    for name in turns(list(calls), repeats):
        results.pop(name, None)  # memory of the call before
        taken, results[name] = timed(calls[name], device)
        times[name].append(taken)
    return times, results


def timed(call: Callable[[], Any], device: torch.device) -> tuple[Times, Any]:
    on_gpu = device.type == "cuda"
    if on_gpu:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    if on_gpu:
        stop.record()
        torch.cuda.synchronize(device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Times(wall, cpu, start.elapsed_time(stop) / 1000 if on_gpu else None), result
