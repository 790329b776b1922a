"""nnU-Net's tiles of an image, added up plane by plane: which part of a tile lies where, and what it weighs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor

from maskmed_nnu.nnunet.inference.mirrored_views import View


class Tile(NamedTuple):
    """What the network sees, ``[C, *patch]``, and which part of its answer lies where in the image."""

    image: np.ndarray
    source: tuple[slice, ...]
    target: tuple[slice, ...]
    mirrored: list[int]
    """Axes of the image"""
    outputs: list[int] | None
    """The order of the channels; None: as they are"""
    weights: list[Tensor]
    """Along each axis of the image"""


def tiles_of(predictor: Any, image: np.ndarray, view: View, patch: Sequence[int]) -> Iterator[Tile]:
    """nnU-Net's tiles of a view of ``image`` [C, z, y, x], and where they lie in the image itself."""
    mirrored = [axis + 3 - len(patch) for axis in view.axes]
    seen = np.flip(image if view.inputs is None else image[view.inputs], [axis + 1 for axis in mirrored])  # no copy
    padded, (_, *inside) = pad_nd_image(seen, patch, return_slicer=True)
    slicers = predictor._internal_get_sliding_window_slicers(padded.shape[1:])
    weights = _axis_weights(slicers, padded.shape[1:], gaussian=predictor.use_gaussian)
    for slicer in slicers:
        source, target, weight = [], [], []
        for axis, (own, edge) in enumerate(zip(inside, image.shape[1:], strict=True)):
            begin, end = _span(slicer[axis + 1])
            first, last = max(begin, int(own.start)), min(end, int(own.stop))
            source.append(slice(first - begin, last - begin))
            low, high = first - int(own.start), last - int(own.start)
            of_axis = weights[axis][begin][source[-1]]
            target.append(slice(edge - high, edge - low) if axis in mirrored else slice(low, high))
            weight.append(of_axis.flip(0) if axis in mirrored else of_axis)
        yield Tile(padded[slicer], tuple(source), tuple(target), mirrored, view.outputs, weight)


def _span(part: slice | int) -> tuple[int, int]:
    return (part.start, part.stop) if isinstance(part, slice) else (part, part + 1)


def _axis_weights(
    slicers: Sequence[tuple[Any, ...]], shape: Sequence[int], *, gaussian: bool
) -> list[dict[int, Tensor]]:
    """For each axis, by where a tile begins, its weights along it; those of all tiles at a position sum to one.

    nnU-Net's Gaussian is a product over the axes, its tiles are a grid, and so the weights of a voxel are products.
    """
    found = []
    for axis, edge in enumerate(shape):
        weights, total = {}, torch.zeros(edge)
        for begin, end in sorted({_span(slicer[axis + 1]) for slicer in slicers}):
            weights[begin] = torch.ones(end - begin)
            if gaussian and end - begin > 1:
                weights[begin] = compute_gaussian((end - begin,), dtype=torch.float32, device=torch.device("cpu"))
            total[begin:end] += weights[begin]
        found.append({begin: weight / total[begin : begin + len(weight)] for begin, weight in weights.items()})
    return found


class PlaneSums:
    """Weighted sums of tiles in those planes along ``axis`` that are neither untouched nor finished.

    ``share`` is that of each view and fold. In single precision, for in nnU-Net's half precision partners such as left
    and right are equal here and there.
    """

    def __init__(self, shape: Sequence[int], axis: int, *, share: float, device: torch.device) -> None:
        self.plane_shape = [edge for along, edge in enumerate(shape) if along != axis]
        self.axis, self.share, self.device, self.next = axis, share, device, 0
        self.planes: dict[int, Tensor] = {}

    def add(self, logits: Tensor, tile: Tile) -> None:
        """``logits [K, *patch]``."""
        logits = logits[(slice(None), *tile.source)]
        if tile.mirrored:
            logits = torch.flip(logits, [axis + 1 for axis in tile.mirrored])
        across = tile.target[self.axis]
        within = tuple(part for along, part in enumerate(tile.target) if along != self.axis)
        rows, columns = (weight for along, weight in enumerate(tile.weights) if along != self.axis)
        weight = (self.share * rows[:, None] * columns).to(self.device)
        shares = tile.weights[self.axis].tolist()
        for index, plane, share in zip(
            range(across.start, across.stop), logits.unbind(self.axis + 1), shares, strict=True
        ):
            if index not in self.planes:
                self.planes[index] = torch.zeros((len(logits), *self.plane_shape), device=self.device)
            plane = plane if tile.outputs is None else plane[tile.outputs]
            self.planes[index][(slice(None), *within)].addcmul_(plane.float(), weight, value=share)

    def finished(self, stop: int) -> Iterator[Tensor]:
        """Logits ``[K, h, w]`` of the planes before ``stop``, which are forgotten."""
        while self.next < stop:
            yield self.planes.pop(self.next)
            self.next += 1
