"""Pictures upright, as viewers show them: EXIF's orientation, which is also TIFF's tag 274."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TAG = 274
# What is left to mirror once rows and columns are exchanged, from 5 on: "Y", "X" or both.
_MIRRORED = {1: "", 2: "X", 3: "YX", 4: "Y", 5: "", 6: "X", 7: "YX", 8: "Y"}


def is_turned(orientation: int) -> bool:
    """Whether rows and columns are exchanged."""
    return 5 <= orientation <= 8


def upright(values: NDArray[Any], axes: str, orientation: int) -> NDArray[Any]:
    """``values [*axes]`` as viewers show them; a number without a meaning changes nothing, as there.

    >>> upright(np.array([[1, 2]]), "YX", 6).tolist()
    [[1], [2]]
    """
    rows, columns = axes.index("Y"), axes.index("X")
    if is_turned(orientation):
        values = values.swapaxes(rows, columns)
    mirrored = [axes.index(axis) for axis in _MIRRORED.get(orientation, "")]
    return np.flip(values, mirrored) if mirrored else values
