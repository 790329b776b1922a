"""From queries to cropped masks, for one tile."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.dimensions import LINEAR, spatial_axes, vector_like
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead, window_cells, window_corner

CELLS_PER_CHUNK = {2: 2**20, 3: 2**17}
"""Of images and volumes: masks computed together. As many as fit a cache take half the time in a volume; images keep
their number, on which the last digit of a product may depend."""

CroppedMasks = tuple[Tensor, list[Tensor], Tensor]
"""Boxes ``[N, 2 * dim]``, masks, and the indices of their queries."""


def windowed_instances(
    head: DynamicMaskHead,
    embeddings: Tensor,
    features: Tensor,
    reference: Tensor,
    *,
    window: Sequence[int],
    shape: Sequence[int],
) -> CroppedMasks:
    """Masks of the queries ``embeddings [N, E]`` at ``reference [N, dim]`` (x, y, z) in [0, 1].

    ``features [C, *grid]`` of the mask grid; ``window`` in its cells; ``shape`` of the tile in pixels. No more windows
    than a chunk holds exist at a time.
    """
    grid = features.shape[1:]
    stride = [edge // cells for edge, cells in zip(shape, grid, strict=True)]
    cells = reference * vector_like(grid[::-1], reference)
    corner = (window_corner(cells, window) * vector_like(stride[::-1], cells, torch.int64)).cpu()
    rows = features.flatten(1).T.float()
    chunks, parts = _chunks(len(embeddings), window), []
    # as in training: half precision would round the coordinates
    with torch.autocast(rows.device.type, enabled=False):
        for part in chunks:
            index, relative = window_cells(cells[part], window=window, shape=grid, scale=head.scale)
            logits = head(embeddings[None, part].float(), rows[index], relative)
            logits = to_pixels(logits.view(-1, 1, *window), stride)[:, 0]
            parts.append(crop_masks(_as_bytes(logits), corner[part], shape))
    return _join(parts, chunks, len(shape))


def window_masks(
    head: DynamicMaskHead,
    embeddings: Tensor,
    features: Tensor,
    reference: Tensor,
    *,
    window: Sequence[int],
    stride: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Masks of all queries of all tiles at once, without a loop: what a graph for other programs can hold.

    ``embeddings [B, Q, E]``, ``features [B, C, *grid]``, ``reference [B, Q, dim]`` → probabilities ``[B, Q, *W]`` and
    the pixel (x, y, z) of each mask's first one in the tile, ``[B, Q, dim]`` int64, which may lie off the tile.
    """
    tiles, queries = reference.shape[:2]
    grid = features.shape[2:]
    cells = (reference * vector_like(grid[::-1], reference)).flatten(0, 1)
    index, relative = window_cells(cells, window=window, shape=grid, scale=head.scale)
    first_row = torch.arange(tiles, device=features.device) * math.prod(grid)
    index = torch.unflatten(index, 0, (tiles, queries)) + first_row[:, None, None]
    rows = features.flatten(2).mT.flatten(0, 1)
    logits = head(embeddings.flatten(0, 1)[None], F.embedding(index.flatten(0, 1), rows), relative)
    masks = to_pixels(logits.view(-1, 1, *window), stride)[:, 0].sigmoid()
    corner = window_corner(cells, window) * vector_like(stride[::-1], cells, torch.int64)
    return torch.unflatten(masks, 0, (tiles, queries)), torch.unflatten(corner, 0, (tiles, queries))


def full_frame_instances(
    head: DotProductMaskHead, embeddings: Tensor, features: Tensor, *, shape: Sequence[int]
) -> CroppedMasks:
    """Masks of the queries ``embeddings [N, E]`` over the whole tile of ``shape``; ``features [C, *grid]``."""
    dim = len(shape)
    chunks, parts = _chunks(len(embeddings), shape), []
    for part in chunks:
        logits = head.dense(embeddings[None, None, part], features[None])[0].float()
        logits = F.interpolate(torch.unflatten(logits, -1, features.shape[1:]), tuple(shape), mode=LINEAR[dim])[0]
        masks = _as_bytes(logits)
        parts.append(crop_masks(masks, torch.zeros(len(masks), dim, dtype=torch.int64), shape))
    return _join(parts, chunks, dim)


def to_pixels(cells: Tensor, stride: Sequence[int]) -> Tensor:
    """``[N, C, *grid]`` enlarged by ``stride``, linear between the cells.

    A cell's ground truth is its pixel number ``stride // 2`` along each axis, so its value belongs there; at the cell's
    centre, all masks of an even stride would be off by half a pixel.
    """
    if all(step == 1 for step in stride):
        return cells
    edges, dim = cells.shape[2:], len(stride)
    size = [(edge + 1) * step + 1 for edge, step in zip(edges, stride, strict=True)]
    fine = F.interpolate(F.pad(cells, (1, 1) * dim, mode="replicate"), size, mode=LINEAR[dim], align_corners=True)
    starts = [step - step // 2 for step in stride]
    inside = [slice(start, start + edge * step) for start, edge, step in zip(starts, edges, stride, strict=True)]
    return fine[(slice(None), slice(None), *inside)]


def maskness(masks: list[Tensor]) -> Tensor:
    """Mean probability of each mask's pixels, ``[N]``."""
    return torch.tensor([float(mask[mask >= 128].float().mean()) / 255 for mask in masks])


def dense_maskness(masks: Tensor) -> Tensor:
    """The same of probabilities ``[B, Q, *spatial]``, 0 for a mask without pixels."""
    rounded, axes = (masks * 255).round(), spatial_axes(masks)
    inside = (rounded >= 128).to(masks.dtype)
    mean: Tensor = (rounded * inside).sum(axes) / inside.sum(axes).clamp(min=1) / 255
    return mean


def crop_masks(masks: Tensor, corner: Tensor, shape: Sequence[int]) -> CroppedMasks:
    """Cut ``masks [N, *spatial]``, whose first pixels are at ``corner [N, dim]`` (x, y, z), to the objects' boxes."""
    inside, dim = masks >= 128, len(shape)
    # what is left of the mask along each axis
    shadows = [inside.any(tuple(1 + other for other in range(dim) if other != axis)) for axis in range(dim)]
    ranges = [_true_range(shadow) for shadow in shadows]
    nonempty = shadows[0].any(1).nonzero()[:, 0]
    boxes, crops = [], []
    for n in nonempty.tolist():
        first = corner[n].tolist()[::-1]
        span = [axis_ranges[n] for axis_ranges in ranges]
        # the soft rim is kept where it is on the tile, for the averaging of several views
        starts = [max(start - 1, -at, 0) for (start, _), at in zip(span, first, strict=True)]
        stops = [
            min(stop + 1, length, edge - at)
            for (_, stop), at, length, edge in zip(span, first, masks.shape[1:], shape, strict=True)
        ]
        boxes.append([at + edge for edges in (starts, stops) for at, edge in zip(first, edges, strict=True)])
        crops.append(masks[(n, *map(slice, starts, stops))].clone())
    return torch.tensor(boxes, dtype=torch.int64).view(-1, 2 * dim), crops, nonempty


def _chunks(queries: int, shape: Sequence[int]) -> list[slice]:
    """Of so many ``queries``, those whose masks of this ``shape`` are computed together."""
    step = max(1, CELLS_PER_CHUNK[len(shape)] // math.prod(shape))
    return [slice(start, start + step) for start in range(0, queries, step)]


def _as_bytes(logits: Tensor) -> Tensor:
    return logits.sigmoid().mul_(255).round_().byte().cpu()


def _join(parts: Sequence[CroppedMasks], chunks: Sequence[slice], dim: int) -> CroppedMasks:
    """The masks of all ``chunks``, each of which numbers its own queries from 0."""
    boxes, masks, queries = [torch.zeros(0, 2 * dim, dtype=torch.int64)], [], [torch.zeros(0, dtype=torch.int64)]
    for (part_boxes, part_masks, part_queries), chunk in zip(parts, chunks, strict=True):
        boxes.append(part_boxes)
        masks += part_masks
        queries.append(part_queries + chunk.start)
    return torch.cat(boxes), masks, torch.cat(queries)


def _true_range(mask: Tensor) -> list[tuple[int, int]]:
    """First True of each row of ``mask [N, n]``, and one past the last."""
    mask = mask.byte()
    first, last = mask.argmax(1), mask.shape[1] - mask.flip(1).argmax(1)
    return list(zip(first.tolist(), last.tolist(), strict=True))
