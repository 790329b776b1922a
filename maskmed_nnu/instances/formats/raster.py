"""What a file holds: values, and the names of their axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.formats.tiff_scale import TiffScale
from maskmed_nnu.instances.text import format_shape

MAX_CHANNELS = 16  # a TIFF of more pages, beside a flat mask, is a stack or a series rather than an image
AXES = "CZYX"
"""What an axis can be: channels, slices, rows, columns. S holds the samples of colours, Q pages of an unknown kind."""


@dataclass(frozen=True)
class Raster:
    """What a file holds: ``values [*axes]``; with ``colour`` the last axis holds its samples.

    ``axes`` is a letter for each axis, as the file names them: those in ``AXES``, S, Q, or another, as T for time.
    Left out, they are those of pictures, whose formats fix the order. ``geometry`` is that of a volume; ``spacing`` is
    that of a TIFF's axes Z, Y, X (or Y, X) in micrometres, where it tells them, and ``scale`` its resolution and unit.
    """

    values: NDArray[Any]
    colour: bool = False
    geometry: Geometry | None = None
    axes: str = ""
    spacing: tuple[float, ...] | None = None
    scale: TiffScale | None = None

    def __post_init__(self) -> None:
        if not self.axes:
            count = self.values.ndim - self.colour
            object.__setattr__(self, "axes", ("Q" * count + AXES)[-count:] + "S" * self.colour)

    def described(self) -> str:
        """The axes in words.

        >>> Raster(np.zeros((5, 8, 9)), axes="TYX").described()
        'TYX (5 × 8 × 9)'
        """
        return f"{self.axes} ({format_shape(self.values.shape)})"

    def channels_first(self, name: object, *, pages: str) -> tuple[NDArray[Any], str]:
        """``values [C, *spatial]`` and the spatial axes, "YX" or "ZYX".

        ``pages`` says what pages of an unknown kind are, Z or C; with other axes beside them they are refused.

        Raises:
            InputError: where an axis is of another kind, or two are of one. It names the file ``name``.
        """
        axes = self.axes
        if axes in ("QYX", "QYXS"):
            axes = axes.replace("Q", "C" if pages == "C" and not self.colour else "Z")
        axes = axes.replace("S", "C")
        if len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= set(AXES):
            told = f", or name them, as in axes {self.suggestion()} (Z slices, C channels)"
            raise InputError(
                f"{name} has the axes {self.described()}, and {self._fault()}; save each image or stack as a "
                f"separate file{told if self.geometry is None else ''}."
            )
        spatial = "ZYX" if "Z" in axes else "YX"
        order = [axes.index(axis) for axis in "C" + spatial if axis in axes]
        values = self.values.transpose(order)
        return (values if "C" in axes else values[None]), spatial

    def _fault(self) -> str:
        if "T" in self.axes:
            return f"T is time: {self.values.shape[self.axes.index('T')]} frames"
        unknown = sum(axis == "Q" for axis in self.axes)
        if unknown:
            return "Q is unknown" if unknown == 1 else f"{unknown} of them are unknown"
        other = [axis for axis in self.axes if axis not in f"{AXES}S"]
        return f"{', '.join(other)} is neither channels nor slices" if other else "two of them are channels"

    def suggestion(self) -> str:
        """What ``axes`` may be told, judged by the sizes where the file names no axis."""
        named = self.axes.replace("T", "Z").rstrip("S")
        if len(set(named)) == len(named) and set(named) <= set(AXES):
            return named
        sizes = self.values.shape[: len(named)]
        if sizes[-1] <= MAX_CHANNELS and sizes[-1] < min(sizes[-3:-1]):  # as arrays of Python often are
            return "ZYXC"[-len(named) :]
        return "ZCYX"
