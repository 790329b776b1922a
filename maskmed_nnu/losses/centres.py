"""Where the objects of a label map are: centres, sizes, heatmap and votes, without a loop over objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskmed_nnu.losses.targets import SetTargets

HEAT_WIDTH = 0.35
"""Standard deviation of an object's peak in the heatmap, in units of its radius (that of a disc of its area)."""
MIN_WIDTH = 0.75
"""The same in pixels at least, so that the peak of a tiny object is not lost between the cells of a coarse heatmap."""


class Centres(NamedTuple):
    """Geometry of the ``T`` targets of one sample, in pixels."""

    centre: Tensor
    """``[T, 2]`` (x, y) of the object's pixel that is nearest to its centre of mass, so that it lies inside"""
    radius: Tensor
    """``[T]`` of a disc of the same area"""
    target_index: Tensor
    """``[layers, N]`` number of the target at each pixel, ``T`` where there is none"""
    offset: Tensor
    """``[layers, N, 2]`` (x, y) from the middle of each pixel to the centre of its target; of no use without one"""


def find_centres(targets: SetTargets) -> Centres:
    """Centres, radii and offsets of the targets' visible parts."""
    count = len(targets.ids)
    width = targets.maps.shape[-1]
    target_index = targets.target_index(None, no_target=count)
    flat = target_index.flatten()
    pixel = torch.arange(target_index.shape[1], device=target_index.device).repeat(len(target_index))
    place = torch.stack((pixel % width, pixel.div(width, rounding_mode="floor")), 1)
    # sums of integers are the same in any order, and so is the centre; ties go to the first pixel
    size = torch.zeros(count + 1, dtype=torch.int64, device=target_index.device).index_add_(
        0, flat, torch.ones_like(flat)
    )
    mass = torch.zeros(count + 1, 2, dtype=torch.int64, device=target_index.device).index_add_(0, flat, place)
    mass = mass / size.clamp(min=1)[:, None]
    distance = (place - mass[flat]).square().sum(1)
    nearest = distance.new_full((count + 1,), torch.inf).scatter_reduce_(0, flat, distance, "amin")
    pixels = len(pixel)
    candidate = torch.where(distance == nearest[flat], torch.arange(pixels, device=target_index.device), pixels)
    first = torch.full((count + 1,), pixels, device=target_index.device).scatter_reduce_(0, flat, candidate, "amin")
    centre = place[first[:count].clamp(max=pixels - 1)] + 0.5
    offset = torch.cat((centre, centre.new_zeros(1, 2)))[target_index] - (place + 0.5).view(*target_index.shape, 2)
    return Centres(centre, (size[:count] / torch.pi).sqrt(), target_index, offset)


def heatmap(found: Centres, targets: SetTargets, *, num_classes: int, stride: int) -> Tensor:
    """``[K, h, w]``: 1 at the cell of an object's centre, falling off as a Gaussian within the object, 0 outside."""
    height, width = targets.maps.shape[-2:]
    spread = (found.radius * HEAT_WIDTH).clamp(min=MIN_WIDTH)
    spread = torch.cat((spread, spread.new_ones(1)))[found.target_index]
    heat = (-found.offset.square().sum(-1) / (2 * spread.square())).exp()
    empty = found.target_index == len(targets.ids)
    classes = torch.cat((targets.classes, targets.classes.new_zeros(1)))[found.target_index]
    heat = heat.masked_fill(empty, 0.0)
    full = heat.new_zeros(num_classes, height * width)
    full.scatter_reduce_(0, classes, heat, "amax")
    pooled = torch.nn.functional.max_pool2d(full.view(1, num_classes, height, width), stride)[0]
    # the cell that holds the centre is the peak, whatever the rounding did
    column, row = (found.centre / stride).long().unbind(1)
    pooled[targets.classes, row.clamp(max=pooled.shape[1] - 1), column.clamp(max=pooled.shape[2] - 1)] = 1.0
    return pooled


def votes(found: Centres, targets: SetTargets, *, stride: int) -> tuple[Tensor, Tensor]:
    """Vectors from the cells of a grid of ``stride`` to their objects' centres, in pixels, and which cells have one.

    ``[2, h, w]`` (x, y) and ``[h, w]`` bool. A cell is what its pixel number ``stride // 2`` along each axis is; where
    objects overlap, the last layer counts.
    """
    height, width = targets.maps.shape[-2:]
    offset = found.offset.view(-1, height, width, 2)
    has = (found.target_index < len(targets.ids)).view(-1, height, width)
    start = stride // 2
    offset, has = offset[:, start::stride, start::stride], has[:, start::stride, start::stride]
    vote = offset[0]
    for layer in range(1, len(offset)):
        vote = torch.where(has[layer, ..., None], offset[layer], vote)
    return vote.permute(2, 0, 1), has.any(0)
