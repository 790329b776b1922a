"""From mask embeddings and mask features to mask logits, where they are wanted.

The dot product of "Per-Pixel Classification is Not All You Need" (arXiv 2107.06278), with one difference: a 1x1
convolution between the decoder and the product is linear and so absorbed into the embedding, which carries a bias as
its last number. No full-resolution tensor of the transformer's width exists.
"""

from __future__ import annotations

import torch
from torch import Tensor


class DotProductMaskHead:
    """Mask logit = embedding · feature + bias; ``E = C + 1``."""

    def at_points(self, embeddings: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """Logits at voxels.

        ``embeddings [L, B, Q, C + 1]``, ``features [B, C, *spatial]``, ``index [B, P]`` (flat voxel numbers) →
        ``[L, B, Q, P]``.
        """
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
