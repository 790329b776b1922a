"""The part of a volume that every epoch's validation predicts: large enough to be stitched, small enough to be cheap.

nnU-Net validates 50 batches of patches an epoch. A whole volume of 300 × 512 × 512 is some 250 overlapping tiles, and
ten of them would take longer than the training between them. A window of 1.5 patches along each axis is 8 tiles, a case
thus as much as a few of nnU-Net's batches. The final validation predicts volumes whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maskmed_nnu.instances.array_types import Integers, Mask

PATCHES = 1.5
"""Edge of the window; two tiles that overlap by half."""


def validation_window(
    shape: Sequence[int], patch: Sequence[int], locations: Mapping[int, Integers]
) -> tuple[slice, ...]:
    """The window around the object that lies in the middle of all, so that it is the same in every epoch and not empty.

    ``locations`` are rows ``[object, z0, y0, x0, z1, y1, x1]`` by class. An image of slices, which have fewer axes than
    ``shape``, is taken whole.
    """
    if len(patch) < len(shape):
        return tuple(slice(0, length) for length in shape)
    size = np.minimum(shape, np.ceil(np.multiply(patch, PATCHES))).astype(int)
    centre = np.asarray(shape) / 2
    boxes = np.concatenate([np.zeros((0, 2 * len(shape))), *(rows[:, 1:] for rows in locations.values())])
    if len(boxes):
        centres = boxes.reshape(-1, 2, len(shape)).mean(1)
        centre = centres[(((centres - np.median(centres, 0)) / patch) ** 2).sum(1).argmin()]
    start = np.clip(np.round(centre - size / 2), 0, np.subtract(shape, size)).astype(int)
    return tuple(slice(int(first), int(first + length)) for first, length in zip(start, size, strict=True))


def cut_off(boxes: Integers, window: Sequence[slice], shape: Sequence[int]) -> Mask:
    """bool ``[N]``: which objects of the window end where it does, though the image ``shape`` goes on there.

    ``boxes [N, 2·dim]`` are those in the window, of its last ``dim`` axes.
    """
    dim = boxes.shape[1] // 2
    edges = list(zip(window, shape, strict=True))[-dim:]
    before = [part.start > 0 for part, _ in edges] & (boxes[:, :dim] == 0)
    after = [part.stop < length for part, length in edges] & (
        boxes[:, dim:] == [part.stop - part.start for part, _ in edges]
    )
    cut: Mask = (before | after).any(1)
    return cut
