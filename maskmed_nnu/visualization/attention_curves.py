"""Autocorrelation, spectrum, fluctuation and deviation of an attention module, with the fitted laws."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from maskmed_nnu.analysis.autocorrelation import correlation_length
from maskmed_nnu.analysis.maps import mean_curves
from maskmed_nnu.analysis.module_curves import HEADINGS, ModuleCurves
from maskmed_nnu.analysis.power_law import MIN_LENGTH, Curve, PowerLaw, fit

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"


def attention_curves(name: str, measured: ModuleCurves) -> Figure:
    """The four curves of a module, thin for each image, thick for their mean, with the laws fitted to it."""
    figure = Figure(figsize=(14, 3.8), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4)
    figure.subplots_adjust(left=0.045, right=0.99, bottom=0.14, top=0.83, wspace=0.3)
    figure.suptitle(f"{name}   ({measured.size}, {len(measured.curves)} images)", fontsize=11)
    if not measured.curves:
        axes[0].text(0, 0.5, "the maps do not vary", color=GREY)
    else:
        mean = mean_curves(measured.curves)
        _autocorrelation(axes[0], [one.autocorrelation for one in measured.curves], mean.autocorrelation)
        for axis, key, x, y, noise in (
            (axes[1], "psd_slope", "cycles per position", "power density", lambda x: np.full_like(x, 2)),
            (axes[2], "dfa", "window n [positions]", "fluctuation F(n)", lambda n: np.sqrt(n / 15)),
            (axes[3], "hurst", "window n [positions]", "deviation of sums", np.sqrt),
        ):
            axis.set(title=HEADINGS[key], xlabel=x, ylabel=y)
            _power_law(axis, [getattr(one, key) for one in measured.curves], getattr(mean, key), noise)
    return figure


def _autocorrelation(axis: Axes, each: list[NDArray[np.float64]], mean: NDArray[np.float64]) -> None:
    axis.set(title="Autocorrelation", xlabel="lag [positions]", ylabel="correlation")
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.plot(np.transpose(each), color=BLUE, alpha=_line_opacity(each), linewidth=0.8)
    length = correlation_length(mean)
    axis.plot(mean, color=BLUE, linewidth=2, label=f"1/e at {length:.1f}" if np.isfinite(length) else "above 1/e")
    axis.axhline(np.exp(-1), color=GREY, linewidth=0.8, linestyle=":")
    axis.legend(frameon=False, fontsize=9)


def _power_law(
    axis: Axes, each: list[Curve], mean: Curve, noise: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    law: PowerLaw = fit(mean)
    if np.isnan(law.exponent):
        text = f"too small a map:\nlines of {MIN_LENGTH} positions are needed"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=GREY)
        axis.set(xticks=[], yticks=[])
        return
    axis.loglog(mean.x, np.transpose([curve.y for curve in each]), color=BLUE, alpha=_line_opacity(each), linewidth=0.8)
    axis.loglog(mean.x, mean.y, "o", color=BLUE, markersize=3.5)
    label = f"exponent {law.exponent:.2f}, R² {law.r_squared:.2f}"
    axis.loglog(mean.x, law.factor * mean.x**law.exponent, color=ORANGE, linewidth=2, label=label)
    axis.loglog(mean.x, noise(mean.x), color=GREY, linewidth=0.8, linestyle=":", label="white noise")
    for one, limits in ((axis.xaxis, (mean.x[0], mean.x[-1])), (axis.yaxis, axis.get_ylim())):
        one.set_minor_locator(NullLocator())
        one.set_ticks(ticks := _ticks(*limits), [f"{tick:.{'2g' if tick < 10 else '0f'}}" for tick in ticks])
    axis.legend(frameon=False, fontsize=9)


def _ticks(low: float, high: float) -> NDArray[np.floating[Any]]:
    """Powers of ten, or of two where there are few: matplotlib's own overlap or are missing on a short axis."""
    for base in (10.0, 2.0):
        exponents = np.log([low, high]) / np.log(base)
        powers = base ** np.arange(np.ceil(exponents[0] - 1e-6), np.floor(exponents[1] + 1e-6) + 1)
        if len(powers) >= 3:
            return powers
    return np.geomspace(low, high, 4)


def _line_opacity(each: Sized) -> float:
    return max(0.08, min(0.5, 4 / len(each)))
