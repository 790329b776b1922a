"""Voxels of an input and of what preprocessing makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.api.images import InputImage
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_shape


def voxel_of_input(
    at: Sequence[int], image: InputImage, properties: Mapping[str, Any], shape: Sequence[int], order: Sequence[int]
) -> tuple[int, ...]:
    """The preprocessed voxel that holds the voxel ``at`` of the input, or the nearest one where it was cropped away.

    ``properties`` are those after preprocessing to ``shape``, ``order`` is the plans' ``transpose_forward``.

    Raises:
        InputError: where the input has no such voxel.
    """
    numbers = np.arange(np.prod(image.data.shape[1:])).reshape(image.data.shape[1:])
    in_input = image.to_input(numbers)
    try:
        voxel = tuple(int(index) for index in at)
    except (TypeError, ValueError):
        raise InputError(
            f"at={at!r} is not a voxel; give a number for each of {', '.join(image.axes.lower())}."
        ) from None
    if len(voxel) != in_input.ndim or not all(0 <= i < n for i, n in zip(voxel, in_input.shape, strict=True)):
        raise InputError(
            f"There is no voxel at ({', '.join(map(str, voxel))}); the image has {format_shape(in_input.shape)} voxels "
            f"along {', '.join(image.axes.lower())}, each counted from 0 on."
        )
    read = np.unravel_index(int(in_input[voxel]), numbers.shape)
    return tuple(
        min(max(int((read[axis] + 0.5 - low) * new / old), 0), new - 1)
        for axis, (low, _), old, new in zip(order, *_grids(properties, shape), strict=True)
    )


def box_in_input(
    corner: Sequence[int],
    size: Sequence[int],
    image: InputImage,
    properties: Mapping[str, Any],
    shape: Sequence[int],
    order: Sequence[int],
) -> NDArray[np.int64]:
    """``[2·dim]``: the first voxel of the input in a box of preprocessed voxels, and the one behind the last.

    ``corner`` and ``size`` of the box are preprocessed voxels (z, y, x), the others as in `voxel_of_input`.
    """
    marked = np.zeros(image.data.shape[1:], bool)
    window: list[slice] = [slice(None)] * 3
    for axis, first, edge, (low, _), old, new in zip(order, corner, size, *_grids(properties, shape), strict=True):
        window[axis] = slice(low + int(first * old / new), low + int(np.ceil((first + edge) * old / new)))
    marked[tuple(window)] = True
    places = np.argwhere(image.to_input(marked))
    return np.concatenate([places.min(0), places.max(0) + 1])


def _grids(properties: Mapping[str, Any], shape: Sequence[int]) -> tuple[Any, Any, Sequence[int]]:
    """Of each preprocessed axis the box that was cropped, its edge then, and that after resampling."""
    return properties["bbox_used_for_cropping"], properties["shape_after_cropping_and_before_resampling"], shape
