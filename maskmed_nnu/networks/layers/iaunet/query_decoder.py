"""Transformer decoder of IAUNet: queries attend to the pixel decoder's scales, deep to fine, several blocks at each.

"IAUNet: Instance-Aware U-Net" (arXiv 2508.01928): cross-attention, self-attention, feed-forward; sequential; every
block is supervised. How this version differs: queries may come from the image, with reference points; attention may be
restricted to the query's current mask ("Masked-attention Mask Transformer", arXiv 2112.01527).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from maskmed_nnu.networks.layers.maskmed.query_head import QueryLayer
from maskmed_nnu.networks.layers.position import sine_position_encoding

Allowed = Callable[[Tensor, Tensor], Tensor]
"""Positions of a scale ``[B, dim, h, w]`` that each query ``[B, Q, E]`` may attend to, ``[B, Q, h * w]`` bool."""


class QueryDecoder(nn.Module):
    """``blocks`` per scale; mask embeddings of ``embedding_size`` numbers come from an MLP or one linear layer."""

    def __init__(
        self,
        *,
        dim: int,
        levels: int,
        blocks: int,
        heads: int,
        ffn: int,
        dropout: float,
        num_classes: int,
        embedding_size: int,
        mask_mlp: bool,
        prior: float,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(QueryLayer(dim=dim, heads=heads, ffn=ffn, dropout=dropout) for _ in range(blocks))
            for _ in range(levels)
        )
        self.norm = nn.LayerNorm(dim)
        inner = [nn.Linear(dim, dim), nn.ReLU(inplace=True)] if mask_mlp else []
        last = nn.Linear(dim, embedding_size)
        self.mask_embedding = nn.Sequential(*inner, last)
        self.seg_layers = nn.Linear(dim, num_classes + 1)
        if not mask_mlp:
            nn.init.normal_(last.weight, std=0.01)
        nn.init.normal_(self.seg_layers.weight, std=0.01)
        nn.init.constant_(self.seg_layers.bias[:-1], -math.log(1 / prior - 1))
        nn.init.zeros_(self.seg_layers.bias[-1:])

    def forward(
        self,
        queries: Tensor,
        position: Tensor,
        memory: Sequence[Tensor],
        *,
        predict_initial: bool,
        allowed: Allowed | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``queries`` and ``position [B, Q, dim]``, ``memory``: ``[B, dim, h, w]`` per scale, deep to fine.

        Returns class logits ``[L, B, Q, K + 1]`` and mask embeddings ``[L, B, Q, E]`` after each block, and before the
        first one with ``predict_initial``, without which ``allowed`` does not restrict the first block.
        """
        predictions = [self._predict(queries)] if predict_initial else []
        for blocks, scale in zip(self.blocks, memory, strict=False):
            tokens = scale.flatten(2).mT
            key_position = sine_position_encoding(scale.shape[2:], tokens.shape[-1], scale.device).to(tokens.dtype)
            for block in cast(nn.ModuleList, blocks):
                mask = allowed(predictions[-1][1], scale) if allowed is not None and predictions else None
                queries = block(queries, position, tokens, key_position, mask)
                predictions.append(self._predict(queries))
        classes, embeddings = zip(*predictions, strict=True)
        return torch.stack(classes), torch.stack(embeddings)

    def _predict(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.norm(queries)
        return self.seg_layers(queries), self.mask_embedding(queries)
