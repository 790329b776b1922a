"""From mask embeddings and mask features to mask logits, at all or at given points.

The dot product of "Per-Pixel Classification is Not All You Need" (arXiv 2107.06278), with one difference: a 1x1
convolution between the decoder and the product is linear and therefore absorbed into the embedding, whose last number
is a bias. No full-resolution tensor of the transformer's width exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from maskmed_nnu.dimensions import unravel
from maskmed_nnu.networks.layers.weighted_rows import weighted_rows


class DotProductMaskHead:
    """Mask logit = embedding · feature + bias; ``E = C + 1``.

    ``stride``: how many voxels of the masks make one of the features along each axis, one by default. Logits between
    the features are interpolated; those of ``dense`` are not.
    """

    def __init__(self, stride: Sequence[int] = ()) -> None:
        self.stride = tuple(stride)

    def sample(self, features: Tensor, index: Tensor) -> Tensor:
        """Features at voxels, ``[B, C, P]``: what ``dense`` takes for the logits there.

        ``features [B, C, *spatial]``, ``index [B, P]`` (flat voxel numbers on a grid ``stride`` times as fine).
        """
        if any(step > 1 for step in self.stride):
            return _interpolate(features, index, self.stride)
        flat = features.flatten(2)
        return flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))

    def dense(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Logits ``[L, B, Q, prod(spatial)]`` of ``embeddings [L, B, Q, C + 1]`` and ``features [B, C, *spatial]``."""
        layers, b, q, _ = embeddings.shape
        features = features.flatten(2)
        # one product per sample for all layers: the features are read once
        stacked = embeddings.transpose(0, 1).flatten(1, 2)
        logits = torch.baddbmm(stacked[..., -1:], stacked[..., :-1], features.to(stacked.dtype))
        return logits.view(b, layers, q, features.shape[-1]).transpose(0, 1)


def _interpolate(features: Tensor, index: Tensor, stride: Sequence[int]) -> Tensor:
    """``features [B, C, *spatial]`` enlarged by ``stride``, at the flat voxels ``index [B, P]`` only: ``[B, C, P]``.

    The channels of a place lie side by side here: read from their maps one by one, they take six times as long.
    """
    batch, grid = len(features), features.shape[2:]
    rows = features.to(torch.promote_types(features.dtype, torch.float32)).flatten(2).mT.flatten(0, 1)
    row = torch.arange(batch, device=index.device)[:, None, None] * prod(grid)
    weight = rows.new_ones(1, 1, 1)
    jump = 1
    fine = unravel(index, [step * edge for step, edge in zip(stride, grid, strict=True)])
    for coordinate, step, edge in zip(fine, reversed(stride), reversed(grid), strict=True):
        place = ((coordinate.to(rows.dtype) + 0.5) / step - 0.5).clamp_(0, edge - 1)
        low = place.floor()
        above, low = place - low, low.long()
        ends = torch.stack([low, (low + 1).clamp_(max=edge - 1)], -1) * jump
        row = (row[..., None] + ends[:, :, None]).flatten(2)  # each axis doubles the neighbours
        weight = (weight[..., None] * torch.stack([1 - above, above], -1)[:, :, None]).flatten(2)
        jump *= edge
    return torch.unflatten(weighted_rows(rows, row.flatten(0, 1), weight.flatten(0, 1)), 0, (batch, -1)).mT
