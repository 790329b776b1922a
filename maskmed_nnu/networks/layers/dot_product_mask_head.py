"""From mask embeddings and mask features to mask logits, at all or at given points.

The dot product of "Per-Pixel Classification is Not All You Need" (arXiv 2107.06278), with one difference: a 1x1
convolution between the decoder and the product is linear and therefore absorbed into the embedding, whose last number
is a bias. No full-resolution tensor of the transformer's width exists.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class DotProductMaskHead:
    """Mask logit = embedding · feature + bias; ``E = C + 1``.

    ``stride``: how many voxels of the masks make one of the features along each axis. Logits between the features are
    interpolated, in 2D; those of ``dense`` are not.
    """

    def __init__(self, stride: int = 1) -> None:
        self.stride = stride

    def at_points(self, embeddings: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """Logits at voxels.

        ``embeddings [L, B, Q, C + 1]``, ``features [B, C, *spatial]``, ``index [B, P]`` (flat voxel numbers on a grid
        ``stride`` times as fine) → ``[L, B, Q, P]``.
        """
        if self.stride > 1:
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


def _interpolate(features: Tensor, index: Tensor, stride: int) -> Tensor:
    """``features [B, C, h, w]`` enlarged by ``stride``, at the flat pixels ``index [B, P]`` only: ``[B, C, P]``."""
    height, width = (stride * n for n in features.shape[2:])
    x = (2 * (index % width) + 1) / width - 1
    y = (2 * index.div(width, rounding_mode="floor") + 1) / height - 1
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    grid = torch.stack((x, y), -1)[:, None].to(features.dtype)
    return F.grid_sample(features, grid, padding_mode="border", align_corners=False)[:, :, 0]
