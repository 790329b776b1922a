"""Where the voxels of a volume lie, and whether two files agree on that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.1
"""Of a voxel: how far apart two files may put the same voxel. Headers rounded to single precision or to five digits
differ by a hundredth of a voxel at the far end of 512, what is shifted by half a voxel spoils labels."""
SHORTEST_EXTENT = 10
"""Voxels over which spacings and directions are compared at least, so that those of a thin stack count, too."""


@dataclass(frozen=True)
class NiftiForms:
    """What a NIfTI says of its place: two affines with their codes (0 where it is to be ignored), and their unit."""

    qform: tuple[tuple[float, ...], ...]
    qform_code: int
    sform: tuple[tuple[float, ...], ...]
    sform_code: int
    unit: str


@dataclass(frozen=True)
class Geometry:
    """Where a volume's voxels lie, in ITK's terms: x, y, z; millimetres; towards left, posterior, superior.

    Of as many dimensions as the file has. ``nifti`` are the words of a NIfTI, which a file on the same grid repeats.
    """

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    nifti: NiftiForms | None = None

    @classmethod
    def from_affine(cls, affine: NDArray[np.float64], nifti: NiftiForms | None = None) -> Geometry:
        """From an affine ``[4, 4]`` towards left, posterior, superior."""
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            direction = affine[:3, :3] / spacing
        return cls(tuple(spacing.tolist()), tuple(affine[:3, 3].tolist()), tuple(direction.ravel().tolist()), nifti)

    @classmethod
    def from_form(cls, form: Sequence[Sequence[float]], nifti: NiftiForms) -> Geometry:
        """From one of a NIfTI's forms, which are towards right, anterior, superior, in the NIfTI's unit."""
        return cls.from_affine(np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(form) * UNITS[nifti.unit], nifti)

    @property
    def dimension(self) -> int:
        return len(self.spacing)

    @property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors along the axes, as columns."""
        return np.reshape(self.direction, (self.dimension, self.dimension)).astype(np.float64)

    @property
    def placed(self) -> bool:
        """Whether the file says where it lies, or only how large its voxels are."""
        return self.nifti is None or self.nifti.qform_code > 0 or self.nifti.sform_code > 0

    @property
    def known(self) -> bool:
        """Whether all numbers are finite, those of a NIfTI's forms included, and no voxel is without length."""
        numbers = [*self.spacing, *self.origin, *self.direction]
        forms = self.nifti
        for form, code in ((forms.qform, forms.qform_code), (forms.sform, forms.sform_code)) if forms else ():
            numbers += [number for row in form for number in row] * (code > 0)
        return bool(np.isfinite(numbers).all()) and min(self.spacing[:3]) > 0

    def to(self, dimension: int) -> Geometry:
        """The same with axes of spacing 1 appended, or the last ones cut off."""
        n = min(self.dimension, dimension)
        direction = np.eye(dimension)
        direction[:n, :n] = self.axes[:n, :n]
        more = dimension - n
        return Geometry(
            self.spacing[:n] + (1.0,) * more,
            self.origin[:n] + (0.0,) * more,
            tuple(direction.ravel().tolist()),
            self.nifti,
        )

    def skew(self) -> float:
        """By how many degrees the angle between two axes differs from 90 at most."""
        cosines = [abs(float(a @ b)) for a, b in combinations(self.axes.T, 2)]
        return float(np.degrees(np.arcsin(min(max(cosines, default=0.0), 1.0))))


def difference(own: Geometry, other: Geometry, size: Sequence[int]) -> str | None:
    """How ``own`` differs from ``other``, in words that follow "it has"; None where they agree.

    ``size`` (x, y[, z]) is that of both. Compared are the axes that both have; along one of a single voxel only where
    it lies.
    """
    n = min(own.dimension, other.dimension, 3)
    last = np.array([*size, 1, 1, 1][:n], dtype=np.float64) - 1
    a, b = own.to(n), other.to(n)
    unit = _common_unit(a, b)
    if unit is not None and _differing(a, b, last):
        a, b = _in_unit(a, unit), _in_unit(b, unit)
    parts = _differing(a, b, last)
    units = [g.nifti.unit for g in (own, other) if g.nifti is not None and g.nifti.unit != "unknown"]
    if parts and len(set(units)) == 2:
        parts.append(f"the unit {units[0]} instead of {units[1]}")
    return ", ".join(parts) or None


def _differing(a: Geometry, b: Geometry, last: NDArray[np.float64]) -> list[str]:
    parts = []
    extent = np.where(last > 0, np.maximum(last, SHORTEST_EXTENT), 0)
    spacing, theirs = np.array(a.spacing), np.array(b.spacing)
    if (np.abs(spacing - theirs) * extent > TOLERANCE * theirs).any():
        parts.append(f"a spacing of {_numbers(spacing)} mm instead of {_numbers(theirs)} mm")
    to_voxels = b.axes * theirs
    # singular: a slice that is oblique in space, cut to two dimensions
    if not (a.placed and b.placed) or min(theirs) <= 0 or abs(np.linalg.det(b.axes)) < 1e-3:
        return parts
    turned = np.linalg.solve(to_voxels, (a.axes - b.axes) * theirs * extent)
    if (np.abs(turned) > TOLERANCE).any():
        parts.append(f"the direction {_numbers(a.direction, ' ')} instead of {_numbers(b.direction, ' ')}")
    shift = np.linalg.solve(to_voxels, np.subtract(a.origin, b.origin))
    if (np.abs(shift) > TOLERANCE).any():
        parts.append(
            f"its first voxel at {_numbers(a.origin, ', ')} mm instead of {_numbers(b.origin, ', ')} mm, "
            f"{np.abs(shift).max():.3g} voxels away"
        )
    return parts


def _common_unit(a: Geometry, b: Geometry) -> float | None:
    """Millimetres of the unit that one file names and the other leaves open."""
    names = [g.nifti.unit for g in (a, b) if g.nifti is not None]
    if len(names) < 2 or names.count("unknown") != 1:
        return None
    return UNITS[next(name for name in names if name != "unknown")]


def _in_unit(geometry: Geometry, unit: float) -> Geometry:
    if geometry.nifti is None or geometry.nifti.unit != "unknown":
        return geometry
    return Geometry(
        tuple(s * unit for s in geometry.spacing),
        tuple(o * unit for o in geometry.origin),
        geometry.direction,
        geometry.nifti,
    )


UNITS = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}
"""Millimetres, as ITK takes them."""


def disagreement(geometry: Geometry, size: Sequence[int]) -> str | None:
    """The form that is used, ``sform`` or ``qform``, of a NIfTI whose two forms put its voxels elsewhere; else None."""
    forms = geometry.nifti
    if forms is None or not (forms.qform_code and forms.sform_code):
        return None
    qform, sform = (Geometry.from_form(form, forms) for form in (forms.qform, forms.sform))
    if difference(sform, qform, size) is None:
        return None
    return "qform" if difference(geometry, qform, size) is None else "sform"


def elsewhere_sentence(path: object, other: str, found: str) -> str:
    """What is wrong with a file that is not on the grid of another one, whose `difference` is ``found``."""
    return (
        f"{path} is not on the grid of {other}: it has {found}; correct the header, or resample the file "
        "(SimpleITK.Resample(mask, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor))."
    )


def unknown_sentence(path: object) -> str:
    """What is wrong with a file whose geometry is not `Geometry.known`."""
    return (
        f"{path} does not define the position of its voxels: its affine or spacing holds NaN, infinity or an axis of "
        "length 0; correct the header."
    )


def sheared_sentence(path: object, geometry: Geometry) -> str:
    """What is wrong with a file whose axes are not perpendicular, and the cure."""
    return (
        f"{path} is sheared: two of its axes meet at {90 - geometry.skew():.4g}° instead of 90°; resample it "
        "(nibabel.processing.resample_to_output), and its mask onto the new image (resample_from_to, order=0)."
    )


def _numbers(values: Sequence[float] | NDArray[np.float64], between: str = " × ") -> str:
    return between.join(f"{value + 0.0:.5g}" for value in values)
