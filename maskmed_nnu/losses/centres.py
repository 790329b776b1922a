"""Centres, sizes, heatmap and vote targets of the objects of a label map, without a loop over objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskmed_nnu.losses.targets import SetTargets

PEAK_SIGMA = 0.35
"""Standard deviation of an object's peak in the heatmap, in units of its radius (that of a disc of its area)."""
MIN_SIGMA = 0.75
"""Its minimum in pixels, so that the peak of a tiny object is not lost between the cells of a coarse heatmap."""


class Centres(NamedTuple):
    """Geometry of the ``T`` targets of one sample, in pixels."""

    centre: Tensor
    """``[T, 2]`` (x, y) of the object's pixel that is nearest to its centre of mass, so that it lies inside"""
    radius: Tensor
    """``[T]`` of a disc of the same area"""
    target_index: Tensor
    """``[layers, N]`` number of the target at each pixel, ``T`` where there is none"""
    offset: Tensor
    """``[layers, N, 2]`` (x, y) from the middle of each pixel to the centre of its target; meaningless without one"""


def find_centres(targets: SetTargets) -> Centres:
    """Centres, radii and offsets of the targets' visible parts."""
    count = len(targets.ids)
    width = targets.maps.shape[-1]
    target_index = targets.target_index(None, no_target=count)
    flat = target_index.flatten()
    pixel = torch.arange(target_index.shape[1], device=target_index.device).repeat(len(target_index))
    position = torch.stack((pixel % width, pixel.div(width, rounding_mode="floor")), 1)
    # sums of integers are the same in any order, and so is the centre; ties go to the first pixel
    size = torch.zeros(count + 1, dtype=torch.int64, device=target_index.device).index_add_(
        0, flat, torch.ones_like(flat)
    )
    centroid = torch.zeros(count + 1, 2, dtype=torch.int64, device=target_index.device).index_add_(0, flat, position)
    centroid = centroid / size.clamp(min=1)[:, None]
    distance = (position - centroid[flat]).square().sum(1)
    nearest = distance.new_full((count + 1,), torch.inf).scatter_reduce_(0, flat, distance, "amin")
    pixels = len(pixel)
    candidate = torch.where(distance == nearest[flat], torch.arange(pixels, device=target_index.device), pixels)
    first = torch.full((count + 1,), pixels, device=target_index.device).scatter_reduce_(0, flat, candidate, "amin")
    centre = position[first[:count].clamp(max=pixels - 1)] + 0.5
    offset = torch.cat((centre, centre.new_zeros(1, 2)))[target_index] - (position + 0.5).view(*target_index.shape, 2)
    return Centres(centre, (size[:count] / torch.pi).sqrt(), target_index, offset)


def heatmap(centres: Centres, targets: SetTargets, *, num_classes: int, stride: int) -> Tensor:
    """``[K, h, w]``: 1 at the cell of an object's centre, falling off as a Gaussian within the object, 0 outside."""
    height, width = targets.maps.shape[-2:]
    sigma = (centres.radius * PEAK_SIGMA).clamp(min=MIN_SIGMA)
    sigma = torch.cat((sigma, sigma.new_ones(1)))[centres.target_index]
    heat = (-centres.offset.square().sum(-1) / (2 * sigma.square())).exp()
    no_target = centres.target_index == len(targets.ids)
    classes = torch.cat((targets.classes, targets.classes.new_zeros(1)))[centres.target_index]
    heat = heat.masked_fill(no_target, 0.0)
    full_resolution = heat.new_zeros(num_classes, height * width)
    full_resolution.scatter_reduce_(0, classes, heat, "amax")
    pooled = torch.nn.functional.max_pool2d(full_resolution.view(1, num_classes, height, width), stride)[0]
    # the cell that contains the centre is the peak, despite rounding
    column, row = (centres.centre / stride).long().unbind(1)
    pooled[targets.classes, row.clamp(max=pooled.shape[1] - 1), column.clamp(max=pooled.shape[2] - 1)] = 1.0
    return pooled


def vote_targets(centres: Centres, targets: SetTargets, *, stride: int) -> tuple[Tensor, Tensor]:
    """Vectors from the cells of a grid of ``stride`` to their objects' centres, in pixels, and which cells have one.

    ``[2, h, w]`` (x, y) and ``[h, w]`` bool. A cell takes the value of its pixel number ``stride // 2`` along each
    axis; where objects overlap, that of the last layer.
    """
    height, width = targets.maps.shape[-2:]
    offset = centres.offset.view(-1, height, width, 2)
    has_target = (centres.target_index < len(targets.ids)).view(-1, height, width)
    start = stride // 2
    offset, has_target = offset[:, start::stride, start::stride], has_target[:, start::stride, start::stride]
    vote = offset[0]
    for layer in range(1, len(offset)):
        vote = torch.where(has_target[layer, ..., None], offset[layer], vote)
    return vote.permute(2, 0, 1), has_target.any(0)
