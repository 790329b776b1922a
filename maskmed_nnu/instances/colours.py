"""Colours that can be distinguished, however many there are; of a class the same in pictures and in files."""

from __future__ import annotations

import colorsys

GOLDEN_RATIO = 0.618034  # a few steps of it around the circle of hues rarely come close to each other …
SHADES = ((0.9, 1.0), (0.45, 1.0), (0.9, 0.7))  # … and those that do differ in saturation or brightness


def colour(index: int) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 255.

    >>> colour(1)  # doctest: +ELLIPSIS
    (140.25, 173.7..., 255.0)
    """
    red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN_RATIO % 1, *SHADES[index % len(SHADES)])
    return red * 255, green * 255, blue * 255


def whole_colour(index: int) -> tuple[int, int, int]:
    """The same in whole numbers."""
    red, green, blue = (round(value) for value in colour(index))
    return red, green, blue
