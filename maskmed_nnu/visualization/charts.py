"""Charts as SVG in an HTML page: its texts keep their size on a phone, its colours follow the page's.

Numbers are drawn as they are; the page has them in a table beside each chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from maskmed_nnu.visualization.panels import short

WIDTH = 380
"""Of the drawing; the page shows it between 0.9 and 1.5 times as large."""
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 24, 34
LINES_HEIGHT = 230
ROW = 30
"""Height of a box with its label."""
LABEL_WIDTH = 122
MOST_DOTS = 1500
CHARACTERS = 16
"""Of a label that has room beside a box."""


class Line(NamedTuple):
    """``series`` says whose colour it has, 1 to 8; a faint one is drawn thin and dashed."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    series: int
    faint: bool = False


class Box(NamedTuple):
    """Five numbers of a sample and its ``mean``; whiskers reach to the last value within 1.5 times the box."""

    number: int
    low: float
    first: float
    median: float
    third: float
    high: float
    mean: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Box | None:
        """
        >>> Box.of([1, 2, 3, 4, 20])
        Box(number=5, low=1.0, first=2.0, median=3.0, third=4.0, high=4.0, mean=6.0)
        """
        known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
        if not len(known):
            return None
        first, median, third = (float(value) for value in np.percentile(known, (25, 50, 75)))
        reach = 1.5 * (third - first)
        inside = known[(known >= first - reach) & (known <= third + reach)]
        return cls(len(known), float(inside.min()), first, median, third, float(inside.max()), float(known.mean()))


def line_chart(key: str, title: str, lines: Sequence[Line], *, x: str, y: str, from_zero: bool = False) -> str:
    """Curves over ``x``; ``key`` is unique in the page. ``from_zero``: of scores, which are 0 or more."""
    points = [(a, b) for line in lines for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
    xs, ys = [a for a, _ in points] or [0], [b for _, b in points] or [0]
    x_ticks = _ticks(min(xs), max(xs), integer=True)
    y_ticks = _ticks(0, max(ys) or 1) if from_zero else _ticks(*_without_outliers(ys))
    across = _scale(min(xs), max(max(xs), min(xs) + 1), LEFT, WIDTH - RIGHT)
    up = _scale(y_ticks[0], y_ticks[-1], LINES_HEIGHT - BOTTOM, TOP)
    parts = [*_y_axis(y_ticks, up), *_x_axis([t for t in x_ticks if min(xs) <= t <= max(xs)], across, x, LINES_HEIGHT)]
    parts.append(f'<text class="name" x="0" y="10">{escape(y)}</text>')
    for line in lines:
        kind = f"line s{line.series}" + (" faint" if line.faint else "")
        drawn = list(_runs(line, across, up))
        for run in drawn:
            if len(run) == 1:
                (a, b) = run[0]
                parts.append(f'<circle class="dot {kind}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>')
            else:
                path = " ".join(f"{a:.1f},{b:.1f}" for a, b in run)
                parts.append(f'<polyline class="{kind}" points="{path}"><title>{escape(line.name)}</title></polyline>')
    return _svg(key, title, f"{len(lines)} curves over {x}.", LINES_HEIGHT, parts)


def box_chart(
    key: str, title: str, samples: Mapping[str, Mapping[str, float]], *, x: str, limits: tuple[float, float] | None
) -> str:
    """A box for each class, of its cases: class → case → value. ``limits`` are those of the axis, where it has any."""
    values = [value for of_class in samples.values() for value in of_class.values() if math.isfinite(value)]
    ticks = _ticks(*limits) if limits else _ticks(0, max(values, default=1))
    height = 8 + ROW * len(samples) + BOTTOM
    across = _scale(ticks[0], ticks[-1], LABEL_WIDTH, WIDTH - RIGHT - 4)
    parts = _x_axis(ticks, across, x, height, grid=True)
    every = len(values) <= MOST_DOTS
    for row, (name, of_class) in enumerate(samples.items()):
        middle = 8 + ROW * (row + 0.5)
        parts.append(
            f'<text class="label" x="{LABEL_WIDTH - 8}" y="{middle + 4:.1f}"><title>{escape(name)}</title>'
            f"{escape(short(name, CHARACTERS))}</text>"
        )
        box = Box.of(list(of_class.values()))
        if box is None:
            parts.append(f'<text class="none" x="{LABEL_WIDTH + 4}" y="{middle + 4:.1f}">no case</text>')
            continue
        parts += _box(box, across, middle)
        shown = [(c, v) for c, v in of_class.items() if math.isfinite(v) and (every or not box.low <= v <= box.high)]
        for index, (case, value) in enumerate(shown):
            beside = (index * 0.618034 % 1 - 0.5) * 12  # so that equal values lie beside each other
            parts.append(
                f'<circle class="dot" cx="{across(value):.1f}" cy="{middle + beside:.1f}" r="2">'
                f"<title>{escape(case)}: {value:.3g}</title></circle>"
            )
    return _svg(key, title, f"{len(samples)} boxes: median, quartiles, and the range without outliers.", height, parts)


def _box(box: Box, across: _Scale, middle: float) -> list[str]:
    low, first, median, third, high = (across(value) for value in box[1:6])
    return [
        f'<path class="whisker" d="M{low:.1f} {middle}H{first:.1f}M{third:.1f} {middle}H{high:.1f}'
        f'M{low:.1f} {middle - 5}v10M{high:.1f} {middle - 5}v10"/>',
        f'<rect class="box" x="{first:.1f}" y="{middle - 9}" width="{max(third - first, 0.8):.1f}" height="18"/>',
        f'<path class="median" d="M{median:.1f} {middle - 9}v18"/>',
    ]


class _Scale(NamedTuple):
    start: float
    factor: float
    origin: float

    def __call__(self, value: float) -> float:
        return self.origin + (value - self.start) * self.factor


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(low, (end - start) / ((high - low) or 1), start)


def _ticks(low: float, high: float, *, integer: bool = False) -> list[float]:
    if not high > low:
        low, high = (low, low + 1) if integer else (low - 0.5, low + 0.5)
    return [float(tick) for tick in MaxNLocator(5, integer=integer, min_n_ticks=2).tick_values(low, high)]


def _without_outliers(values: Sequence[float]) -> tuple[float, float]:
    """The range of a curve; a first epoch that is far off does not flatten the others."""
    low, high = float(np.min(values)), float(np.max(values))
    if len(values) < 20:
        return low, high
    first, last = (float(value) for value in np.percentile(values, (1, 99)))
    margin = 0.5 * (last - first)
    return max(low, first - margin), min(high, last + margin)


def _runs(line: Line, across: _Scale, up: _Scale) -> Iterator[list[tuple[float, float]]]:
    """The parts of a curve between values that are missing, kept inside the frame."""
    run: list[tuple[float, float]] = []
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(y):
            run.append((across(x), min(max(up(y), TOP), LINES_HEIGHT - BOTTOM)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _y_axis(ticks: Sequence[float], up: _Scale) -> list[str]:
    parts = []
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {up(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="label" x="{LEFT - 6}" y="{up(tick) + 4:.1f}">{_number(tick)}</text>')
    return parts


def _x_axis(ticks: Sequence[float], across: _Scale, name: str, height: int, *, grid: bool = False) -> list[str]:
    parts = []
    for tick in ticks:
        x = across(tick)
        if grid:
            parts.append(f'<path class="grid" d="M{x:.1f} 6V{height - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - BOTTOM + 14}">{_number(tick)}</text>')
    parts.append(f'<text class="name end" x="{WIDTH - RIGHT}" y="{height - 4}">{escape(name)}</text>')
    return parts


def _number(value: float) -> str:
    """
    >>> [_number(value) for value in (0.0, 0.1 + 0.2, 1000.0, -2.5)]
    ['0', '0.3', '1000', '−2.5']
    """
    return f"{round(value, 10):.6g}".replace("-", "−")


def _svg(key: str, title: str, description: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )
