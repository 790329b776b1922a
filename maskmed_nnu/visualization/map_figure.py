"""A picture with a legend, as a figure, and as a PNG within a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from maskmed_nnu.visualization.overlay import class_colour

LARGEST = 512
"""Pixels of an edge within a page."""


def map_figure(picture: NDArray[np.uint8], names: Mapping[int, str], *, title: str, aspect: float) -> Figure:
    """``picture [H, W, 3]`` with a legend of the classes ``names``; ``aspect`` is a pixel's height over its width."""
    figure = Figure(figsize=(6, 6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    axes.imshow(picture, aspect=aspect)
    axes.set_axis_off()
    axes.set_title(plain(title), fontsize=10)
    if names:
        handles = [
            Patch(color=tuple((class_colour(number) / 255).tolist()), label=plain(name))
            for number, name in names.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 5), frameon=False)
    return figure


def png_of(picture: NDArray[np.uint8]) -> str:
    """``picture [H, W, 3]``, at most `LARGEST` pixels wide and high, as the base64 of a PNG."""
    small = Image.fromarray(picture)
    small.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def plain(name: str) -> str:
    """A name that matplotlib shows as it is: dollars would begin a formula, an underscore hide the entry; bytes of a
    file's name that are no text become question marks."""
    text = name.encode(errors="replace").decode().replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text
