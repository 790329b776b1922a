"""Names for the types of arrays that signatures repeat; shapes are in the docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.integer[Any]]
"""Ids, classes, indices or counts, whatever their width."""
Mask: TypeAlias = NDArray[np.bool_]
Box: TypeAlias = Sequence[int]
"""All starts, then all stops: ``y0, x0, y1, x1``, in a volume ``z0, y0, x0, z1, y1, x1``, half open."""
CroppedMask: TypeAlias = tuple[tuple[slice, ...], Mask]
"""A box of slices, one per axis, and the mask in it."""
