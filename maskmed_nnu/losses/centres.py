"""Centres, sizes, heatmap and vote targets of the objects of a label map, without a loop over objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskmed_nnu.dimensions import MAX_POOL, unravel, vector_like
from maskmed_nnu.losses.targets import SetTargets

PEAK_SIGMA = 0.35
"""Standard deviation of an object's peak in the heatmap, in units of its radius (that of a ball of its size)."""
MIN_SIGMA = 0.75
"""Its minimum in pixels, so that the peak of a tiny object is not lost between the cells of a coarse heatmap."""
BALL = {2: math.pi, 3: 4 / 3 * math.pi}
"""Size of the ball of radius 1."""


class Centres(NamedTuple):
    """Geometry of the ``T`` targets of one sample, in pixels; ``weights`` are those of the axes in a distance."""

    centre: Tensor
    """``[T, dim]`` (x, y, z) of the object's pixel that is nearest to its centre of mass, so that it lies inside"""
    radius: Tensor
    """``[T]`` of a ball of the same size, in weighted pixels"""
    target_index: Tensor
    """``[layers, N]`` number of the target at each pixel, ``T`` where there is none"""
    offset: Tensor
    """``[layers, N, dim]`` (x, y, z) from the middle of each pixel to the centre of its target; meaningless without
    one"""
    weights: Tensor
    """``[dim]`` (x, y, z)"""


def find_centres(targets: SetTargets, *, weights: Sequence[float] | None = None) -> Centres:
    """Centres, radii and offsets of the targets' visible parts.

    ``weights`` (x, y, z): a step along an axis counts as so many pixels in a distance, as one by default.
    """
    count, shape = len(targets.ids), targets.maps.shape[1:]
    dim = len(shape)
    target_index = targets.target_index(None, no_target=count)
    device = target_index.device
    weight = torch.ones(dim, device=device)
    if weights is not None:
        weight = vector_like(weights, weight)
    flat = target_index.flatten()
    pixel = torch.arange(target_index.shape[1], device=device).repeat(len(target_index))
    position = torch.stack(unravel(pixel, shape), 1)
    # sums of integers are the same in any order, and so is the centre; ties go to the first pixel
    size = torch.zeros(count + 1, dtype=torch.int64, device=device).index_add_(0, flat, torch.ones_like(flat))
    centroid = torch.zeros(count + 1, dim, dtype=torch.int64, device=device).index_add_(0, flat, position)
    centroid = centroid / size.clamp(min=1)[:, None]
    distance = ((position - centroid[flat]) * weight).square().sum(1)
    nearest = distance.new_full((count + 1,), torch.inf).scatter_reduce_(0, flat, distance, "amin")
    pixels = len(pixel)
    candidate = torch.where(distance == nearest[flat], torch.arange(pixels, device=device), pixels)
    first = torch.full((count + 1,), pixels, device=device).scatter_reduce_(0, flat, candidate, "amin")
    centre = position[first[:count].clamp(max=pixels - 1)] + 0.5
    offset = torch.cat((centre, centre.new_zeros(1, dim)))[target_index]
    offset = offset - (position + 0.5).view(*target_index.shape, dim)
    ball = BALL[dim] if weights is None else BALL[dim] / math.prod(weights)
    return Centres(centre, (size[:count] / ball) ** (1 / dim), target_index, offset, weight)


def heatmap(centres: Centres, targets: SetTargets, *, num_classes: int, stride: Sequence[int]) -> Tensor:
    """``[K, *grid]``: 1 at the cell of an object's centre, falling off as a Gaussian within the object, 0 outside."""
    shape = targets.maps.shape[1:]
    sigma = (centres.radius * PEAK_SIGMA).clamp(min=MIN_SIGMA)
    sigma = torch.cat((sigma, sigma.new_ones(1)))[centres.target_index]
    heat = (-(centres.offset * centres.weights).square().sum(-1) / (2 * sigma.square())).exp()
    no_target = centres.target_index == len(targets.ids)
    classes = torch.cat((targets.classes, targets.classes.new_zeros(1)))[centres.target_index]
    heat = heat.masked_fill(no_target, 0.0)
    full_resolution = heat.new_zeros(num_classes, math.prod(shape))
    full_resolution.scatter_reduce_(0, classes, heat, "amax")
    pooled = MAX_POOL[len(shape)](full_resolution.view(1, num_classes, *shape), list(stride))[0]
    # the cell that contains the centre is the peak, despite rounding
    cells = (centres.centre / vector_like(stride[::-1], centres.centre)).long().flip(1).unbind(1)
    inside = [cell.clamp(max=edge - 1) for cell, edge in zip(cells, pooled.shape[1:], strict=True)]
    pooled[(targets.classes, *inside)] = 1.0
    return pooled


def vote_targets(centres: Centres, targets: SetTargets, *, stride: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Vectors from the cells of a grid of ``stride`` to their objects' centres, in pixels, and which cells have one.

    ``[dim, *grid]`` (x, y, z) and ``[*grid]`` bool. A cell takes the value of its pixel number ``stride // 2`` along
    each axis; where objects overlap, that of the last layer.
    """
    shape = targets.maps.shape[1:]
    offset = at_cells(centres.offset.movedim(-1, 1).unflatten(-1, shape), stride)  # [layers, dim, *grid]
    has_target = at_cells((centres.target_index < len(targets.ids)).unflatten(-1, shape), stride)
    vote = offset[0]
    for layer in range(1, len(offset)):
        vote = torch.where(has_target[layer], offset[layer], vote)
    return vote, has_target.any(0)


def at_cells(maps: Tensor, stride: Sequence[int]) -> Tensor:
    """The values at the pixels that the cells of a grid of ``stride`` take their truth from, ``[..., *grid]``."""
    start = maps.ndim - len(stride)
    for axis, step in enumerate(stride, start):
        maps = maps[(slice(None),) * axis + (slice(step // 2, None, step),)]
    return maps
