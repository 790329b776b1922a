"""Results as markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.harness.machine import Limits

MANY = 20
"""Repeats from which quartiles mean something."""


def head(machine: dict[str, Any], limits: Limits | None) -> str:
    """What was measured on, and what it can do at best."""
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    line = f"{machine['device']}, {threads}, torch {machine['torch']}, Python {machine['python']}"
    if limits is None:
        return line
    return (
        f"{line}; at best {limits.matrix_product / 1e9:,.0f} GMAC/s in a matrix product, "
        f"{limits.convolution / 1e9:,.0f} in a convolution, {limits.bytes_per_second / 1e9:,.1f} GB/s"
    )


def case_table(case: dict[str, Any]) -> str:
    """A heading, the table, what was left out, and notes."""
    rows = case["methods"]
    columns = [(title, [of(row) for row in rows]) for title, of in _columns(case)]
    filled = [(title, cells) for title, cells in columns if any(cells)]
    lines = [
        _line([title for title, _ in filled]),
        _line(["---", *["--:"] * (len(filled) - 1)]),
        *(_line([cells[n] or "–" for _, cells in filled]) for n in range(len(rows))),
    ]
    notes = [
        f"- {row['name']}: " + ", ".join(f"{name} {_note(value)}" for name, value in row["notes"].items())
        for row in rows
        if row["notes"]
    ]
    left_out = [f"- {one['name']} is left out: {one['reason']}" for one in case["left_out"]]
    below = ["", *notes, *left_out] if notes or left_out else []
    return "\n".join([f"### {case['title']}", "", _caption(case), "", *lines, *below])


def _caption(case: dict[str, Any]) -> str:
    clock = {"seconds": "wall time", "cpu_seconds": "time of the processors", "gpu_seconds": "time of the GPU"}
    ratio = f"; ratios are of {clock[case['clock']]}, beside {case['peer']}" if case["peer"] else ""
    count = case["repeats"]
    return f"Median of {count} interleaved repeat{'s' * (count > 1)}{ratio}."


def _columns(case: dict[str, Any]) -> list[tuple[str, Callable[[dict[str, Any]], str | None]]]:
    unit = case["unit"]
    spread = (lambda row: _quartiles(row.get(case["clock"]))) if case["repeats"] >= MANY else lambda row: None
    on_processor = case["clock"] != "seconds"
    return [
        ("method", lambda row: row["name"]),
        ("parameters", lambda row: f"{row['parameters']:,}" if row["parameters"] else None),
        (f"wall time per {unit}", lambda row: _median(row.get("seconds"))),
        (f"CPU time per {unit}", lambda row: _median(row.get("cpu_seconds")) if on_processor else None),
        (f"GPU time per {unit}", lambda row: _median(row.get("gpu_seconds"))),
        ("quartiles", spread),
        ("ratio", lambda row: _ratio(row["ratio"])),
        ("GMAC", lambda row: _billions(row["multiplications"])),
        ("GMAC/s", lambda row: _billions(row["multiplications_per_second"])),
        ("GB moved", lambda row: _billions(row["moved_bytes"])),
        ("least in theory", lambda row: seconds(row["least_seconds"]) if row["least_seconds"] else None),
        ("reached", lambda row: f"{row['reached']:.0%}" if row["reached"] is not None else None),
        ("allocated", lambda row: _mebibytes(row["allocated_bytes"], row["allocated_ratio"])),
        ("peak memory", lambda row: _mebibytes(row["peak_bytes"], row["peak_ratio"])),
        ("process before", lambda row: _mebibytes(row.get("resident_before_bytes"))),
        ("process at its peak", lambda row: _mebibytes(row.get("resident_bytes"))),
    ]


def seconds(value: float) -> str:
    """
    >>> seconds(12.3), seconds(0.0123), seconds(0.000045)
    ('12.3 s', '12.3 ms', '0.0450 ms')
    """
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:#.3g} s" if value >= 1 else f"{1000 * value:#.3g} ms" if value < 0.1 else f"{value:.3f} s"


def _median(spread: dict[str, Any] | None) -> str | None:
    return seconds(spread["median"]) if spread else None


def _quartiles(spread: dict[str, Any] | None) -> str | None:
    return f"{seconds(spread['low'])} – {seconds(spread['high'])}" if spread else None


def _ratio(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def _billions(value: float | None) -> str | None:
    return f"{value / 1e9:,.3g}" if value else None


def _mebibytes(value: float | None, share: float | None = None) -> str | None:
    """With the share of the peer's."""
    if not value:
        return None
    return f"{value / 2**20:,.0f} MiB" + (f" ({_ratio(share)})" if share is not None else "")


def _note(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
