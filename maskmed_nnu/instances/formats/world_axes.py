"""Which way the axes of a volume's array run in the body, as the orientation codes of nibabel say it.

A code has a letter for each axis of the file, in the order x, y, z: where the axis runs to, from its first voxel to its
last. "LPS" runs to the left, to posterior and to superior. The array that nnU-Net's readers give has the axes in the
reverse order: z, y, x. An oblique volume has the code of the axes that are closest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from maskmed_nnu.instances.formats.endings import NIFTI, VOLUMES, ending
from maskmed_nnu.instances.formats.geometry import Geometry
from maskmed_nnu.instances.formats.volumes import read_forms, read_header

_TURNS: Any = orientations  # has no types
WORLD = "LPS"
"""What the axes of an array in the order of the world run to."""
READERS_AS_STORED = ("SimpleITKIO", "NibabelIO", "InstanceIO")
_ENDS = (("R", "L"), ("A", "P"), ("I", "S"))
_FLAT = 0.01  # determinant of the directions of a slice that is nearly perpendicular to the axes it is cut to


def axis_codes(geometry: Geometry) -> str | None:
    """The code of a volume, or the two letters of a slice; None where the file does not say how it lies.

    >>> axis_codes(Geometry((1, 1, 2), (0, 0, 0), (0, 1, 0, -1, 0, 0, 0, 0, 1)))
    'ALS'
    """
    if not (geometry.known and geometry.placed):
        return None
    dimension = min(geometry.dimension, 3)
    axes = geometry.to(dimension).axes
    if abs(np.linalg.det(axes)) < _FLAT:
        return None
    affine = np.eye(dimension + 1)
    affine[:-1, :-1] = axes * geometry.spacing[:dimension]
    return "".join(_TURNS.ornt2axcodes(_TURNS.io_orientation(affine), _ENDS))


def codes_as_read(path: Path | str, *, reader: str) -> str | None:
    """The code of the array that nnU-Net's ``reader`` (its name) gives for a file, from the header alone.

    None for pictures, for files that do not say how they lie, for those whose header cannot be read, and for a reader
    of the user's own.
    """
    if ending(path) not in VOLUMES:
        return None
    try:
        return code_as_read(_geometry(path, reader) if reader in READERS_AS_STORED else None, reader=reader)
    except Exception:  # the libraries raise whatever they like at damaged files
        return None


def code_as_read(geometry: Geometry | None, *, reader: str) -> str | None:
    """The same for a volume that is stored as ``geometry`` says, which matters to ``READERS_AS_STORED`` alone."""
    if reader.endswith("WithReorient"):
        return "RAS"
    return axis_codes(geometry) if geometry is not None and reader in READERS_AS_STORED else None


def _geometry(path: Path | str, reader: str) -> Geometry:
    if reader.startswith("Nibabel") and ending(path) in NIFTI:  # the sform comes first, whatever the qform says
        _, forms = read_forms(path)
        return Geometry.from_form(forms.sform if forms.sform_code > 0 else forms.qform, forms)
    return read_header(path).geometry


def world_axes(codes: str | None) -> tuple[int, int, int]:
    """The world axis (0 left-right, 1 front-back, 2 up-down) of each axis z, y, x of an array.

    Without a code x, y and z are the first, second and third of the world.

    >>> world_axes("PSR"), world_axes(None)
    ((0, 2, 1), (2, 1, 0))
    """
    codes = codes or ""
    axes = [next(axis for axis, ends in enumerate(_ENDS) if letter in ends) for letter in codes]
    axes += [axis for axis in range(3) if axis not in axes]
    z, y, x = reversed(axes)
    return z, y, x


def turned_to_world(array: NDArray[np.generic], codes: str | None) -> NDArray[np.generic]:
    """``array [..., Z, Y, X]`` of a reader as a view ``[..., left, posterior, superior]``, the axes in that order.

    An array without a code keeps its directions: ``[..., X, Y, Z]``.
    """
    first = array.ndim - 3
    ends = (codes or "").ljust(3)[::-1]
    flipped = [first + i for i, end in enumerate(ends) if end not in (" ", *WORLD)]
    order = np.argsort(world_axes(codes)) + first
    return np.flip(array, flipped).transpose(*range(first), *order.tolist())


def in_world_order(values: tuple[float, ...], codes: str | None) -> tuple[float, ...]:
    """Values of the axes z, y, x of an array, such as a reader's spacing, in the order of the world's axes."""
    return tuple(values[i] for i in np.argsort(world_axes(codes)).tolist())
