"""Measurements of each attention module, as a table and as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.analysis.autocorrelation import correlation_length
from maskmed_nnu.analysis.maps import EXPONENTS, MapCurves, map_curves, mean_curves
from maskmed_nnu.analysis.power_law import fit
from maskmed_nnu.atomic_write import write_atomically

HEADINGS = {"hurst": "Hurst exponent", "dfa": "DFA exponent", "psd_slope": "PSD slope"}


class ModuleCurves:
    """The curves of one module's maps, one map for each image."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.curves: list[MapCurves] = []

    def add(self, feature_map: NDArray[np.floating[Any]]) -> None:
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
        mean = mean_curves(self.curves)
        each = np.array([one.exponents() for one in self.curves])
        for index, name in enumerate(EXPONENTS):
            law = fit(getattr(mean, name))
            row |= {name: law.exponent, f"{name}_sd": each[:, index].std(), f"{name}_r2": law.r_squared}
        row["autocorrelation_1"] = float(mean.autocorrelation[1]) if len(mean.autocorrelation) > 1 else np.nan
        row["correlation_length"] = correlation_length(mean.autocorrelation)
        return row


def markdown_table(maps: Mapping[str, ModuleCurves]) -> str:
    """A table with a row for each module: exponents as mean ± standard deviation over the images."""
    headings = ["module", "channels × size", *HEADINGS.values(), "autocorrelation at 1", "correlation length"]
    rows = [headings]
    for name, measured in maps.items():
        row = measured.row()
        cells = [name, str(row["channels × size"])]
        cells += [_cell(row, key) for key in (*EXPONENTS, "autocorrelation_1", "correlation_length")]
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"| {' | '.join(c.ljust(w) for c, w in zip(cells, widths, strict=True))} |" for cells in rows]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(lines)


def _cell(row: Mapping[str, float | str], key: str) -> str:
    value, deviation = row.get(key), row.get(f"{key}_sd")
    if not isinstance(value, float) or np.isnan(value):
        return "–"
    return f"{value:.2f}" if deviation is None else f"{value:.2f} ± {deviation:.2f}"


def write_csv(path: Path, maps: Mapping[str, ModuleCurves]) -> None:
    """Write a row for each module, atomically; unknown values are empty."""
    rows = [{"module": name, **measured.row()} for name, measured in maps.items()]
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)

    write_atomically(path, write)
