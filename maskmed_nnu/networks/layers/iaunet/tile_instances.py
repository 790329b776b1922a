"""From queries to cropped masks, for one tile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead, window_cells, window_corner

CELLS_PER_CHUNK = 2**20

CroppedMasks = tuple[Tensor, list[Tensor], Tensor]
"""Boxes ``[N, 4]``, masks, and the indices of their queries."""


def windowed_instances(
    head: DynamicMaskHead, embeddings: Tensor, features: Tensor, reference: Tensor, *, window: int, shape: Sequence[int]
) -> CroppedMasks:
    """Masks of the queries ``embeddings [N, E]`` at ``reference [N, 2]`` in [0, 1].

    ``features [C, h, w]`` of the mask grid; ``window`` in its cells; ``shape`` of the tile in pixels.
    """
    if not len(embeddings):
        return _no_masks()
    grid = features.shape[1:]
    stride = shape[0] // grid[0]
    cells = reference * reference.new_tensor([grid[1], grid[0]])
    corner = window_corner(cells, window) * stride
    rows = features.flatten(1).T.float()
    parts = []
    # as in training: half precision would round the coordinates
    with torch.autocast(rows.device.type, enabled=False):
        for part in torch.split(
            torch.arange(len(embeddings), device=rows.device), max(1, CELLS_PER_CHUNK // window**2)
        ):
            index, relative = window_cells(cells[part], window=window, shape=grid, scale=head.scale)
            logits = head(embeddings[None, part].float(), rows[index], relative)
            logits = to_pixels(logits.view(-1, 1, window, window), stride)[:, 0]
            parts.append(logits.sigmoid().mul_(255).round_().byte().cpu())
    masks = torch.cat(parts)
    return crop_masks(masks, corner.cpu(), shape)


def window_masks(
    head: DynamicMaskHead, embeddings: Tensor, features: Tensor, reference: Tensor, *, window: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Masks of all queries of all tiles at once, without a loop: what a graph for other programs can hold.

    ``embeddings [B, Q, E]``, ``features [B, C, h, w]``, ``reference [B, Q, 2]`` → probabilities ``[B, Q, W, W]`` and
    the pixel (x, y) of each mask's first one in the tile, ``[B, Q, 2]`` int64, which may lie off the tile.
    """
    tiles, queries = reference.shape[:2]
    grid = features.shape[2:]
    cells = (reference * reference.new_tensor([grid[1], grid[0]])).flatten(0, 1)
    index, relative = window_cells(cells, window=window, shape=grid, scale=head.scale)
    first_row = torch.arange(tiles, device=features.device) * (grid[0] * grid[1])
    index = torch.unflatten(index, 0, (tiles, queries)) + first_row[:, None, None]
    rows = features.flatten(2).mT.flatten(0, 1)
    logits = head(embeddings.flatten(0, 1)[None], F.embedding(index.flatten(0, 1), rows), relative)
    masks = to_pixels(logits.view(-1, 1, window, window), stride)[:, 0].sigmoid()
    corner = window_corner(cells, window) * stride
    return torch.unflatten(masks, 0, (tiles, queries)), torch.unflatten(corner, 0, (tiles, queries))


def full_frame_instances(
    head: DotProductMaskHead, embeddings: Tensor, features: Tensor, *, shape: Sequence[int]
) -> CroppedMasks:
    """Masks of the queries ``embeddings [N, E]`` over the whole tile of ``shape``; ``features [C, h, w]``."""
    if not len(embeddings):
        return _no_masks()
    parts = []
    for part in torch.split(embeddings, max(1, CELLS_PER_CHUNK // (shape[0] * shape[1]))):
        logits = head.dense(part[None, None], features[None])[0].float()
        logits = F.interpolate(torch.unflatten(logits, -1, features.shape[1:]), tuple(shape), mode="bilinear")[0]
        parts.append(logits.sigmoid().mul_(255).round_().byte().cpu())
    masks = torch.cat(parts)
    return crop_masks(masks, torch.zeros(len(masks), 2, dtype=torch.int64), shape)


def to_pixels(cells: Tensor, stride: int) -> Tensor:
    """``[N, C, h, w]`` enlarged by ``stride``, linear between the cells.

    A cell's ground truth is its pixel number ``stride // 2`` along each axis, so its value belongs there; at the cell's
    centre, all masks of an even stride would be off by half a pixel.
    """
    if stride == 1:
        return cells
    height, width = cells.shape[2:]
    size = ((height + 1) * stride + 1, (width + 1) * stride + 1)
    fine = F.interpolate(F.pad(cells, (1, 1, 1, 1), mode="replicate"), size, mode="bilinear", align_corners=True)
    start = stride - stride // 2
    return fine[..., start : start + height * stride, start : start + width * stride]


def maskness(masks: list[Tensor]) -> Tensor:
    """Mean probability of each mask's pixels, ``[N]``."""
    return torch.tensor([float(mask[mask >= 128].float().mean()) / 255 for mask in masks])


def dense_maskness(masks: Tensor) -> Tensor:
    """The same of probabilities ``[..., h, w]``, 0 for a mask without pixels."""
    rounded = (masks * 255).round()
    inside = (rounded >= 128).to(masks.dtype)
    mean: Tensor = (rounded * inside).sum((-2, -1)) / inside.sum((-2, -1)).clamp(min=1) / 255
    return mean


def _no_masks() -> CroppedMasks:
    return torch.zeros(0, 4, dtype=torch.int64), [], torch.zeros(0, dtype=torch.int64)


def crop_masks(masks: Tensor, corner: Tensor, shape: Sequence[int]) -> CroppedMasks:
    """Cut ``masks [N, h, w]``, whose first pixels are at ``corner [N, 2]`` (x, y), to the objects' boxes."""
    inside = masks >= 128
    nonempty = inside.flatten(1).any(1)
    boxes, crops = [], []
    ranges = [_true_range(inside.any(axis)) for axis in (2, 1)]
    for n in nonempty.nonzero()[:, 0].tolist():
        (y0, y1), (x0, x1) = ranges[0][n], ranges[1][n]
        x, y = corner[n].tolist()
        # the soft rim is kept where it is on the tile, for the averaging of several views
        y0, x0 = max(y0 - 1, -y, 0), max(x0 - 1, -x, 0)
        y1, x1 = min(y1 + 1, masks.shape[1], shape[0] - y), min(x1 + 1, masks.shape[2], shape[1] - x)
        boxes.append((y + y0, x + x0, y + y1, x + x1))
        crops.append(masks[n, y0:y1, x0:x1].clone())
    return torch.tensor(boxes, dtype=torch.int64).view(-1, 4), crops, nonempty.nonzero()[:, 0]


def _true_range(mask: Tensor) -> list[tuple[int, int]]:
    """First True of each row of ``mask [N, n]``, and one past the last."""
    mask = mask.byte()
    first, last = mask.argmax(1), mask.shape[1] - mask.flip(1).argmax(1)
    return list(zip(first.tolist(), last.tolist(), strict=True))
