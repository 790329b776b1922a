"""One case measured: a dictionary that is ready for JSON, in seconds, bytes and multiplications for each unit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.harness import machine
from benchmarks.harness.case import Case, Method, MissingError, Run
from benchmarks.harness.cost import Cost, count
from benchmarks.harness.timing import Spread, Times, interleave


class Settings(NamedTuple):
    """How all cases of a run are measured."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    repeats: int | None = None
    """None: the case's own."""
    smoke: bool = False


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Prepare the methods, count one call of each, and time them in turns."""
    runs, left_out = _prepare(case.methods)
    rows: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        cost, peak = _counted(run, settings.device)
        rows[name] = {
            "name": name,
            "parameters": run.parameters,
            **_theory(cost, case.items, settings),
            "peak_bytes": peak,
            "notes": dict(run.notes),
        }
    calls = {name: run.call for name, run in runs.items() if run.call is not None}
    repeats = settings.repeats or case.repeats
    times, results = interleave(calls, repeats=repeats, warm_up=case.warm_up, device=settings.device)
    if case.check is not None:
        case.check(results)
    clock = _clock(case, settings.device)
    for name, taken in times.items():
        rows[name] |= _spreads(taken, case.items)
    peer = dict(rows.get(case.peer or "", {}))
    for row in rows.values():
        row["ratio"] = _quotient(*(one[clock]["median"] if clock in one else None for one in (row, peer)))
        for memory in ("allocated", "peak"):
            row[f"{memory}_ratio"] = _quotient(row[f"{memory}_bytes"], peer.get(f"{memory}_bytes"))
        row |= _pace(row, settings.device)
    return {
        "title": case.title,
        "unit": case.unit,
        "peer": case.peer if case.peer in rows else None,
        "clock": clock,
        "repeats": repeats,
        "methods": list(rows.values()),
        "left_out": left_out,
    }


def _quotient(own: float | None, peer: float | None) -> float | None:
    return own / peer if own is not None and peer else None


def _prepare(methods: Sequence[Method]) -> tuple[dict[str, Run], list[dict[str, str]]]:
    runs, left_out = {}, []
    for method in methods:
        try:
            runs[method.name] = method.prepare()
        except MissingError as reason:
            left_out.append({"name": method.name, "reason": str(reason)})
    return runs, left_out


def _counted(run: Run, device: torch.device) -> tuple[Cost | None, int | None]:
    """The cost of a call, and its peak of memory: that of its tensors, on a GPU what its allocator says."""
    if run.cost is not None or run.call is None or not run.counted:
        return run.cost, None if run.cost is None else run.cost.peak
    gc.collect()
    if device.type != "cuda":
        cost = count(run.call)
        return cost, cost.peak
    run.call()  # what stays from call to call, such as an optimizer's state, is there before
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    cost = count(run.call)
    return cost, torch.cuda.max_memory_allocated(device) - before


def _theory(cost: Cost | None, items: int, settings: Settings) -> dict[str, Any]:
    if cost is None or not cost.operators:
        return {"multiplications": None, "moved_bytes": None, "allocated_bytes": None, "least_seconds": None}
    limits = machine.limits(settings.device, settings.dtype, smoke=settings.smoke)
    least = cost.least_seconds(
        multiplications_per_second=limits.multiplications_per_second, bytes_per_second=limits.bytes_per_second
    )
    return {
        "multiplications": cost.multiplications / items,
        "moved_bytes": cost.bytes / items,
        "allocated_bytes": cost.allocated,
        "least_seconds": least / items,
    }


def _spreads(taken: Sequence[Times], items: int) -> dict[str, Any]:
    """Median, quartiles and samples of each clock."""

    def spread(of: Callable[[Times], float]) -> dict[str, Any]:
        return Spread.of([of(one) / items for one in taken])._asdict()

    spreads = {"seconds": spread(lambda one: one.wall), "cpu_seconds": spread(lambda one: one.cpu)}
    if taken[0].gpu is not None:
        spreads["gpu_seconds"] = spread(lambda one: one.gpu or 0.0)
    return spreads


def _clock(case: Case, device: torch.device) -> str:
    if case.clock == "wall":
        return "seconds"
    return "gpu_seconds" if device.type == "cuda" else "cpu_seconds"


def _pace(row: dict[str, Any], device: torch.device) -> dict[str, float | None]:
    """Multiplications a second, and the least time in theory as a share of the time that it took: that of the GPU, or
    of the processor where it is a single one."""
    on_processor = "cpu_seconds" if torch.get_num_threads() == 1 else "seconds"
    clock = "gpu_seconds" if device.type == "cuda" else on_processor
    taken = row[clock]["median"] if clock in row else None
    if not taken or row["least_seconds"] is None:
        return {"multiplications_per_second": None, "reached": None}
    return {
        "multiplications_per_second": row["multiplications"] / taken,
        "reached": row["least_seconds"] / taken,
    }
