"""Parts that figures of several panels share."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from maskmed_nnu.visualization.map_figure import plain
from maskmed_nnu.visualization.overlay import class_colour, draw_classes

BACKGROUND = (0.55, 0.55, 0.55)
"""The grey of class 0, which overlays leave as it is."""
LEAST_WIDTH, LETTERS_PER_INCH = 5.5, 10
NO_OBJECT = (0.86, 0.86, 0.82)
TEXT, GREY = "#222222", "#777777"

Colour = tuple[float, float, float]


def new_figure(width: float, height: float, title: str) -> Figure:
    """A white figure, in inches, whose parts do not overlap; pyplot does not know it."""
    width = max(width, LEAST_WIDTH)
    engine = ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.04)
    figure = Figure(figsize=(width, height), facecolor="white", layout=engine)
    FigureCanvasAgg(figure)
    lines = [fill(line, int(width * LETTERS_PER_INCH)) for line in title.split("\n")]
    figure.suptitle(plain("\n".join(lines)), fontsize=11, color=TEXT)
    return figure


def colour_of(number: int) -> Colour:
    """That of a class in overlays; background is grey."""
    red, green, blue = (class_colour(number) / 255).tolist() if number else BACKGROUND
    return red, green, blue


def grey_picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 ``[H, W, 3]`` of ``image [C, H, W]``, as overlays show it."""
    return draw_classes(image, np.zeros(image.shape[1:], np.uint8))


def show(axis: Axes, picture: NDArray[Any], *, aspect: float, title: str = "", **options: Any) -> Any:
    """Show ``picture [h, w]`` or ``[h, w, 3]`` without ticks; ``aspect`` is a pixel's height divided by its width."""
    drawn = axis.imshow(picture, aspect=aspect, **options)
    axis.set(xticks=[], yticks=[], xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axis.spines[:].set_visible(False)
    if title:
        axis.set_title(plain(title), fontsize=9, color=TEXT)
    return drawn


def tint(axis: Axes, values: NDArray[np.floating[Any]], colour: Colour, *, aspect: float, **options: Any) -> None:
    """``values [h, w]`` from 0 to 1 over what an axis shows, as opacities of a colour."""
    coloured = np.empty((*values.shape, 4), np.float32)
    coloured[..., :3], coloured[..., 3] = colour, np.clip(values, 0, 1) * 0.75
    limits = axis.get_xlim(), axis.get_ylim()
    axis.imshow(coloured, aspect=aspect, **options)
    axis.set(xlim=limits[0], ylim=limits[1])


def legend_of(figure: Figure, classes: Iterable[tuple[str, Colour | str]]) -> None:
    """Names and their colours below everything, in as many columns as fit."""
    classes = list(classes)
    longest = max(len(name) for name, _ in classes)
    columns = int(figure.get_figwidth() * LETTERS_PER_INCH / (longest + 6))
    handles = [Patch(facecolor=colour, edgecolor=GREY, linewidth=0.4, label=plain(name)) for name, colour in classes]
    columns = max(1, min(columns, len(handles)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def panel_size(shape: tuple[int, ...], aspect: float, *, within: float) -> tuple[float, float]:
    """Width and height in inches of a panel that shows ``shape [H, W]``, the longer one ``within``."""
    height, width = shape[0] * aspect, float(shape[1])
    return within * width / max(height, width), within * height / max(height, width)


def short(name: str, most: int) -> str:
    """At most so many letters of a name.

    >>> short("portal vein", 8), short("liver", 8)
    ('portal …', 'liver')
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def cross(axis: Axes, place: Any) -> None:
    """Mark ``place`` (y, x)."""
    axis.plot(place[1], place[0], "+", color="white", markersize=13, markeredgewidth=3.2)
    axis.plot(place[1], place[0], "+", color="black", markersize=12, markeredgewidth=1.4)
