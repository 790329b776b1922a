"""The part of an image that a network sees at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor


class Patch(NamedTuple):
    """A patch and its place; ``dim`` is 2 or 3."""

    data: Tensor
    """``[C, *patch_size]``, zeros where the image ends"""
    inside: tuple[slice, ...]
    """``dim`` slices: the image within the patch"""
    corner: tuple[int, ...]
    """The image's voxel (z, y, x) that is the first one ``inside``"""

    def crop(self, values: NDArray[Any]) -> NDArray[Any]:
        """The part of ``values [..., *patch_size]`` that lies in the image."""
        index: Any = (..., *self.inside)
        part: NDArray[Any] = values[index]
        return part


def cut_patch(data: NDArray[np.floating[Any]], patch_size: Sequence[int], centre: Sequence[int] | None = None) -> Patch:
    """The patch of ``data [C, Z, Y, X]`` around the voxel ``centre`` (z, y, x), as far as the image goes.

    By default the middle. A 2D patch is one of the slice that ``centre`` names. A smaller image has zeros around it, as
    nnU-Net predicts it.
    """
    flat = len(patch_size) == 2
    plane = data.shape[1] // 2 if centre is None else centre[0]
    image = torch.from_numpy(data[:, plane] if flat else data)
    edges = image.shape[1:]
    padded, slicer = pad_nd_image(image, patch_size, return_slicer=True)
    around = [(edge - size) // 2 + size // 2 for edge, size in zip(edges, patch_size, strict=True)]
    if centre is not None:
        around = list(centre[-len(patch_size) :])
    starts = [
        min(max(middle - size // 2, 0), max(edge - size, 0))
        for middle, edge, size in zip(around, edges, patch_size, strict=True)
    ]
    window = [slice(start, start + size) for start, size in zip(starts, patch_size, strict=True)]
    inside = [
        part if edge < size else slice(0, size)
        for part, edge, size in zip(slicer[-len(patch_size) :], edges, patch_size, strict=True)
    ]
    corner = (plane, *starts) if flat else tuple(starts)
    return Patch(padded[(slice(None), *window)].contiguous(), tuple(inside), corner)


def fullest_place(labels: NDArray[np.integer[Any]], patch_size: Sequence[int]) -> tuple[int, ...]:
    """The voxel of ``labels [Z, Y, X]`` around which a patch shows most of the classes; the middle without any.

    Each class counts the same, however small it is. Among equal places, the one closest to the labelled voxels' mean.
    """
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    if not counts.any():
        return tuple(edge // 2 for edge in labels.shape)
    weight = np.divide(1, counts, where=counts > 0, out=np.zeros(len(counts)))[labels]
    size = (*[1] * (3 - len(patch_size)), *patch_size)
    seen = ndimage.uniform_filter(weight, size, mode="constant")
    best = np.argwhere(seen >= seen.max() * (1 - 1e-9))
    mean = np.argwhere(labels > 0).mean(0)
    return tuple(best[((best - mean) ** 2).sum(1).argmin()].tolist())


def innermost_voxel(labels: NDArray[np.integer[Any]]) -> tuple[int, ...]:
    """The voxel of ``labels [*spatial]`` deepest inside the largest class above 0; the middle without any.

    >>> innermost_voxel(np.array([[0, 2, 2, 2, 0], [0, 2, 2, 2, 1], [0, 2, 2, 2, 1]]))
    (1, 2)
    """
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    if not counts.any():
        return tuple(edge // 2 for edge in labels.shape)
    inside = np.pad(labels == counts.argmax(), 1)
    depth = ndimage.distance_transform_edt(inside)[(slice(1, -1),) * labels.ndim]
    return tuple(int(index) for index in np.unravel_index(depth.argmax(), depth.shape))
