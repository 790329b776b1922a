"""The Masked Multi-Scale Segmentation Head: one set of queries predicts masks and classes.

"MaskMed" (arXiv 2511.15603): each refined query yields a class-agnostic mask embedding and a class embedding. Layer
order and attention mask follow "Masked-attention Mask Transformer for Universal Image Segmentation" (arXiv 2112.01527)
and "3D TransUNet" (arXiv 2310.07781); the paper's own numbers of layers, widths and queries are not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.networks.layers.position import sine_position_encoding


class Attention(nn.Module):
    """Multi-head attention with separate positions for queries and keys, and a mask of allowed keys."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """``query [B, Q, dim]``, ``key`` and ``value [B, N, dim]``, ``allowed [B, Q, N]`` bool → ``[B, Q, dim]``."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        mask = None if allowed is None else allowed[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        output: Tensor = self.output(attended)
        return output


class QueryLayer(nn.Module):
    """Masked cross-attention to one scale, self-attention among the queries, feed-forward; post-norm."""

    def __init__(self, *, dim: int, heads: int, ffn: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.cross_attention = Attention(dim=dim, heads=heads)
        self.self_attention = Attention(dim=dim, heads=heads)
        self.feed_forward = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(inplace=True), nn.Linear(ffn, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, queries: Tensor, position: Tensor, memory: Tensor, key_position: Tensor, allowed: Tensor | None
    ) -> Tensor:
        attended = self.cross_attention(queries + position, memory + key_position, memory, allowed)
        queries = self.norms[0](queries + self.dropout(attended))
        attended = self.self_attention(queries + position, queries + position, queries)
        queries = self.norms[1](queries + self.dropout(attended))
        refined: Tensor = self.norms[2](queries + self.dropout(self.feed_forward(queries)))
        return refined


class MaskedQueryHead(nn.Module):
    """Queries attend to the decoder's scales and predict class logits and mask embeddings after every layer.

    ``memory_channels``: widths of the scales, one per layer in the order of the layers. ``mask_channels``: width of the
    full-resolution mask features.
    """

    def __init__(
        self,
        *,
        memory_channels: Sequence[int],
        mask_channels: int,
        num_classes: int,
        num_queries: int,
        spatial_dims: int,
        dim: int = 192,
        heads: int = 8,
        ffn: int = 768,
    ) -> None:
        super().__init__()
        self.dim, self.num_queries = dim, num_queries
        conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        self.pool = F.avg_pool2d if spatial_dims == 2 else F.avg_pool3d
        self.inputs = nn.ModuleList(conv(c, dim, 1) for c in memory_channels)
        self.level_embedding = nn.Parameter(torch.empty(len(memory_channels), dim))
        self.layers = nn.ModuleList(QueryLayer(dim=dim, heads=heads, ffn=ffn) for _ in memory_channels)
        self.norm = nn.LayerNorm(dim)
        self.mask_embedding = nn.Sequential(
            nn.Linear(dim, dim),
            nn.ReLU(inplace=True),
            nn.Linear(dim, dim),
            nn.ReLU(inplace=True),
            nn.Linear(dim, mask_channels + 1),
        )
        # nnU-Net's loader of pretrained weights leaves out what is called ".seg_layers.": everything that depends on
        # the number of classes is there, so that weights can be transferred between data sets
        self.seg_layers = nn.ModuleDict(
            {
                "queries": nn.Embedding(num_queries, dim),
                "positions": nn.Embedding(num_queries, dim),
                "classes": nn.Linear(dim, num_classes + 1),
            }
        )
        nn.init.normal_(self.level_embedding, std=0.02)

    def forward(self, memory: Sequence[Tensor], mask_features: Tensor) -> tuple[Tensor, Tensor]:
        """``memory``: ``[B, C_l, *shape_l]`` per layer; ``mask_features [B, C, *spatial]``.

        Returns class logits ``[L, B, Q, K + 1]`` and mask embeddings ``[L, B, Q, C + 1]`` for the initial queries and
        after each layer, ``L = layers + 1``.
        """
        queries = cast(Tensor, self.seg_layers["queries"].weight).expand(mask_features.shape[0], -1, -1)
        position = self.seg_layers["positions"].weight
        predictions = [self._predict(queries)]
        resized = self._resize(mask_features, [scale.shape[2:] for scale in memory])
        for layer, project, scale, embedding in zip(
            self.layers, self.inputs, memory, self.level_embedding, strict=True
        ):
            tokens = project(scale).flatten(2).transpose(1, 2) + embedding
            key_position = sine_position_encoding(scale.shape[2:], self.dim, scale.device).to(tokens.dtype)
            allowed = self._allowed(predictions[-1][1], resized[scale.shape[2:]])
            queries = layer(queries, position, tokens, key_position, allowed)
            predictions.append(self._predict(queries))
        classes, embeddings = zip(*predictions, strict=True)
        return torch.stack(classes), torch.stack(embeddings)

    def _predict(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.norm(queries)
        return self.seg_layers["classes"](queries), self.mask_embedding(queries)

    @torch.no_grad()
    def _resize(self, mask_features: Tensor, shapes: Sequence[torch.Size]) -> dict[torch.Size, Tensor]:
        """Mask features averaged to each scale, ``[B, C, N]``; deeper scales from shallower ones.

        Mask logits are linear in the features, so the features are resized to the scales, not the masks.
        """
        resized, finer = {}, mask_features
        for shape in reversed(shapes):  # the head goes from deep to shallow, unless its plan says otherwise
            if any(n < m for n, m in zip(finer.shape[2:], shape, strict=True)):
                finer = mask_features
            finer = self.pool(finer, [n // m for n, m in zip(finer.shape[2:], shape, strict=True)])
            resized[shape] = finer.flatten(2)
        return resized

    @torch.no_grad()
    def _allowed(self, embedding: Tensor, features: Tensor) -> Tensor:
        """Keys inside the query's current mask; all keys if that mask is empty. ``[B, Q, N]`` bool."""
        inside = embedding[..., :-1] @ features.to(embedding.dtype) + embedding[..., -1:] >= 0
        return inside | ~inside.any(-1, keepdim=True)
