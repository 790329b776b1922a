"""What was measured of each attention module: a table on the screen, a CSV file, and a plot."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from maskmed_nnu.analysis.autocorrelation import correlation_length
from maskmed_nnu.analysis.maps import EXPONENTS, MapCurves, map_curves, mean_of
from maskmed_nnu.analysis.power_law import SHORTEST, Curve, PowerLaw, fit
from maskmed_nnu.instances.formats import replacing

HEADINGS = {"hurst": "Hurst exponent", "dfa": "DFA exponent", "psd_slope": "PSD slope"}
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"


class ModuleMaps:
    """The curves of one module's maps, one map for each image."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.curves: list[MapCurves] = []

    def add(self, feature_map: np.ndarray) -> None:
        """Measure ``feature_map [C, *spatial]``; one that does not vary at all is not counted."""
        self.shape = feature_map.shape
        curves = map_curves(feature_map)
        if curves is not None:
            self.curves.append(curves)

    @property
    def size(self) -> str:
        """The map's size in words: ``64 × 128×128``."""
        return f"{self.shape[0]} × {'×'.join(map(str, self.shape[1:]))}"

    def row(self) -> dict[str, float | str]:
        """A row of the table; exponents are means over the images, with their standard deviations."""
        row: dict[str, float | str] = {"channels × size": self.size, "images": len(self.curves)}
        if not self.curves:
            return row
        mean = mean_of(self.curves)
        each = np.array([one.exponents() for one in self.curves])
        for index, name in enumerate(EXPONENTS):
            law = fit(getattr(mean, name))
            row |= {name: law.exponent, f"{name}_sd": each[:, index].std(), f"{name}_r2": law.r_squared}
        row["autocorrelation_1"] = float(mean.autocorrelation[1]) if len(mean.autocorrelation) > 1 else np.nan
        row["correlation_length"] = correlation_length(mean.autocorrelation)
        return row


def markdown(maps: Mapping[str, ModuleMaps]) -> str:
    """A table with a row for each module: exponents as mean ± standard deviation over the images."""
    headings = ["module", "channels × size", *HEADINGS.values(), "autocorrelation at 1", "correlation length"]
    rows = [headings]
    for name, measured in maps.items():
        row = measured.row()
        cells = [name, str(row["channels × size"])]
        cells += [_cell(row.get(key), row.get(f"{key}_sd")) for key in EXPONENTS]
        rows.append([*cells, _cell(row.get("autocorrelation_1")), _cell(row.get("correlation_length"))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"| {' | '.join(c.ljust(w) for c, w in zip(cells, widths, strict=True))} |" for cells in rows]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(lines)


def _cell(value: float | None, deviation: float | None = None) -> str:
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.2f}" if deviation is None else f"{value:.2f} ± {deviation:.2f}"


def write_csv(path: Path, maps: Mapping[str, ModuleMaps]) -> None:
    """Write a row for each module, whole or not at all; what is not known is empty."""
    rows = [{"module": name, **measured.row()} for name, measured in maps.items()]
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)

    replacing(path, write)


def write_plot(path: Path, name: str, measured: ModuleMaps) -> None:
    """Write the four curves of a module, thin for each image, thick for their mean, with the laws fitted to it."""
    figure = Figure(figsize=(14, 3.8), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    figure.subplots_adjust(left=0.045, right=0.99, bottom=0.14, top=0.83, wspace=0.3)
    figure.suptitle(f"{name}   ({measured.size}, {len(measured.curves)} images)", fontsize=11)
    if not measured.curves:
        axes[0].text(0, 0.5, "the maps do not vary", color=GREY)
    else:
        mean = mean_of(measured.curves)
        _autocorrelation(axes[0], [one.autocorrelation for one in measured.curves], mean.autocorrelation)
        for axis, key, x, y, noise in (
            (axes[1], "psd_slope", "cycles per position", "power density", lambda x: np.full_like(x, 2)),
            (axes[2], "dfa", "window n [positions]", "fluctuation F(n)", lambda n: np.sqrt(n / 15)),
            (axes[3], "hurst", "window n [positions]", "deviation of sums", np.sqrt),
        ):
            axis.set(title=HEADINGS[key], xlabel=x, ylabel=y)
            _power_law(axis, [getattr(one, key) for one in measured.curves], getattr(mean, key), noise)
    replacing(path, lambda partial: figure.savefig(partial, dpi=110))


def _autocorrelation(axis: Axes, each: list[np.ndarray], mean: np.ndarray) -> None:
    axis.set(title="Autocorrelation", xlabel="lag [positions]", ylabel="correlation")
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.plot(np.transpose(each), color=BLUE, alpha=_faint(each), linewidth=0.8)
    length = correlation_length(mean)
    axis.plot(mean, color=BLUE, linewidth=2, label=f"1/e at {length:.1f}" if np.isfinite(length) else "above 1/e")
    axis.axhline(np.exp(-1), color=GREY, linewidth=0.8, linestyle=":")
    axis.legend(frameon=False, fontsize=9)


def _power_law(axis: Axes, each: list[Curve], mean: Curve, noise: Callable[[np.ndarray], np.ndarray]) -> None:
    law: PowerLaw = fit(mean)
    if np.isnan(law.exponent):
        text = f"too small a map:\nlines of {SHORTEST} positions are needed"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=GREY)
        axis.set(xticks=[], yticks=[])
        return
    axis.loglog(mean.x, np.transpose([curve.y for curve in each]), color=BLUE, alpha=_faint(each), linewidth=0.8)
    axis.loglog(mean.x, mean.y, "o", color=BLUE, markersize=3.5)
    label = f"exponent {law.exponent:.2f}, R² {law.r_squared:.2f}"
    axis.loglog(mean.x, law.factor * mean.x**law.exponent, color=ORANGE, linewidth=2, label=label)
    axis.loglog(mean.x, noise(mean.x), color=GREY, linewidth=0.8, linestyle=":", label="white noise")
    for one, limits in ((axis.xaxis, (mean.x[0], mean.x[-1])), (axis.yaxis, axis.get_ylim())):
        one.set_minor_locator(NullLocator())
        one.set_ticks(ticks := _ticks(*limits), [f"{tick:.{'2g' if tick < 10 else '0f'}}" for tick in ticks])
    axis.legend(frameon=False, fontsize=9)


def _ticks(low: float, high: float) -> np.ndarray:
    """Powers of ten, or of two where there are few: matplotlib's own overlap or are missing on a short axis."""
    for base in (10.0, 2.0):
        exponents = np.log([low, high]) / np.log(base)
        powers = base ** np.arange(np.ceil(exponents[0] - 1e-6), np.floor(exponents[1] + 1e-6) + 1)
        if len(powers) >= 3:
            return powers
    return np.geomspace(low, high, 4)


def _faint(each: list) -> float:
    return max(0.08, min(0.5, 4 / len(each)))
