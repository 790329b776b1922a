"""From mask embeddings and mask features to mask logits, at all or at given points.

The dot product of "Per-Pixel Classification is Not All You Need" (arXiv 2107.06278), with one difference: a 1x1
convolution between the decoder and the product is linear and therefore absorbed into the embedding, whose last number
is a bias. No full-resolution tensor of the transformer's width exists.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.dimensions import unravel


class DotProductMaskHead:
    """Mask logit = embedding · feature + bias; ``E = C + 1``.

    ``stride``: how many voxels of the masks make one of the features along each axis, one by default. Logits between
    the features are interpolated; those of ``dense`` are not.
    """

    def __init__(self, stride: Sequence[int] = ()) -> None:
        self.stride = tuple(stride)

    def at_points(self, embeddings: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """Logits at voxels.

        ``embeddings [L, B, Q, C + 1]``, ``features [B, C, *spatial]``, ``index [B, P]`` (flat voxel numbers on a grid
        ``stride`` times as fine) → ``[L, B, Q, P]``.
        """
        if any(step > 1 for step in self.stride):
            return self._product(embeddings, _interpolate(features, index, self.stride))
        flat = features.flatten(2)
        return self._product(embeddings, flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1)))

    def dense(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Logits at all voxels, ``[L, B, Q, prod(spatial)]``."""
        return self._product(embeddings, features.flatten(2))

    @staticmethod
    def _product(embeddings: Tensor, features: Tensor) -> Tensor:
        layers, b, q, _ = embeddings.shape
        # one product per sample for all layers: the features are read once
        stacked = embeddings.transpose(0, 1).flatten(1, 2)
        logits = torch.baddbmm(stacked[..., -1:], stacked[..., :-1], features.to(stacked.dtype))
        return logits.view(b, layers, q, features.shape[-1]).transpose(0, 1)


def _interpolate(features: Tensor, index: Tensor, stride: Sequence[int]) -> Tensor:
    """``features [B, C, *spatial]`` enlarged by ``stride``, at the flat voxels ``index [B, P]`` only: ``[B, C, P]``."""
    shape = tuple(step * n for step, n in zip(stride, features.shape[2:], strict=True))
    grid = [(2 * place + 1) / edge - 1 for place, edge in zip(unravel(index, shape), shape[::-1], strict=True)]
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    points = torch.stack(grid, -1).to(features.dtype)
    points = points.view(len(index), *[1] * (len(shape) - 1), -1, len(shape))
    return F.grid_sample(features, points, padding_mode="border", align_corners=False).flatten(2)
