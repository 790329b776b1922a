"""What the planners' rules need to know of a data set's objects, in pixels of the images that are planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf, prod
from typing import NamedTuple

from maskmed_nnu.instances.statistics import AXES

COARSE = 1.5
"""Slices are coarse that are so many times as far apart as pixels: the images' own resolution is kept along that axis.
Pixels in the plane of a slice are squares, or nearly so."""


class InstanceSizes(NamedTuple):
    """What the rules need to know of the things in a data set."""

    small: tuple[float, ...]
    """edges of a small object (10th percentile); both edges in the plane of a slice are the shorter one"""
    large: tuple[float, ...]
    """edges of a large object (95th percentile); both edges in the plane of a slice are the longer one"""
    largest: tuple[float, ...]
    """edges that hardly any object exceeds (99th percentile), likewise"""
    spacing: float
    """between centres of a class where objects are close (5th percentile), in units of the coarsest edge of a pixel;
    infinite where they are always alone"""
    small_areas: tuple[float, ...]
    """area, or volume, of a very small object (5th percentile) of each thing class"""
    density: float
    """objects per pixel in dense images (99th percentile)"""
    max_count: int
    """objects in the fullest image"""
    mean: tuple[float, ...]
    """mean edges of an object"""
    image: tuple[float, ...]
    """edges of the median image"""
    voxel: tuple[float, ...]
    """spacing of the planned images"""

    @classmethod
    def from_statistics(cls, statistics: dict, spacing: Sequence[float]) -> InstanceSizes:
        """From `maskmed_nnu.instances.statistics.summarise`, for images resampled to ``spacing``."""
        things = [one for one in statistics["classes"].values() if one["kind"] == "thing"]
        # In its plane an object may be turned, so that neither of the edges of its box tells the other; in a pixel
        # that is not square the coarser edge is the cautious one.
        coarse, fine = max(spacing[-2:]), min(spacing[-2:])
        across = list(zip(AXES[-len(spacing) :], spacing, strict=True))[:-2]
        everything, voxel = statistics["all"], prod(spacing)
        close = [one["spacing"]["5"] for one in things if one["spacing"]]

        def edges(choose: Callable[[Iterable[float]], float], in_plane: str, percentile: str, unit: float) -> tuple:
            named = [(axis, edge) for axis, edge in across] + [(in_plane, unit)] * 2
            return tuple(choose(one["extent"][name][percentile] for one in things) / edge for name, edge in named)

        return cls(
            small=edges(min, "shorter", "10", coarse),
            large=edges(max, "longer", "95", fine),
            largest=edges(max, "longer", "99", fine),
            spacing=min(close, default=inf) / max(spacing),
            small_areas=tuple(one["area"]["5"] / voxel for one in things),
            density=everything["density"]["99"] * voxel,
            max_count=int(everything["objects_per_slice"]["max"]),
            mean=_along_axes(everything["extent"], "mean", spacing),
            image=_along_axes(statistics["size"], "50", spacing),
            voxel=tuple(spacing),
        )


def _along_axes(by_axis: dict, statistic: str, spacing: Sequence[float]) -> tuple[float, ...]:
    names = AXES[-len(spacing) :]
    return tuple(by_axis[axis][statistic] / edge for axis, edge in zip(names, spacing, strict=True))


def coarse_axes(spacing: Sequence[float]) -> list[bool]:
    """
    >>> coarse_axes((5, 1, 1)), coarse_axes((1.2, 1, 1)), coarse_axes((1, 2))
    ([True, False, False], [False, False, False], [False, False])
    """
    return [*(edge >= COARSE * min(spacing[-2:]) for edge in spacing[:-2]), False, False]


def scaled_spacing(spacing: Sequence[float], scale: float) -> list[float]:
    """The spacing of images enlarged by ``scale``: a coarse axis stays until the others are nearly as coarse.

    >>> scaled_spacing((1, 1), 0.5), scaled_spacing((5, 1, 1), 2), scaled_spacing((5, 1, 1), 0.25)
    ([2.0, 2.0], [5, 0.5, 0.5], [6.0, 4.0, 4.0])
    >>> scaled_spacing((5, 2, 1), 2)  # the plane of a slice keeps its shape
    [5, 1.0, 0.5]
    """
    limit = COARSE * min(spacing[-2:]) / scale
    coarse = coarse_axes(spacing)
    return [max(edge, limit) if far else edge / scale for edge, far in zip(spacing, coarse, strict=True)]
