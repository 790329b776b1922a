"""The Full-Scale Aware Deformable (FSAD) Transformer.

"MaskMed" (arXiv 2511.15603) places it between encoder and decoder: the queries are low-resolution encoder features of
several scales, the values are encoder features of all scales including full resolution. The paper's number of layers,
widths and query scales are not public; ours are settings. The query levels' values are updated in each layer, those
of the other levels stay the encoder's; the result is added to the encoder features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskmed_nnu.networks.layers.maskmed.deformable import DeformableAttention
from maskmed_nnu.networks.layers.position import sine_position_encoding, voxel_centres


class FSADLayer(nn.Module):
    """Deformable attention and feed-forward, each with a residual and a LayerNorm behind it."""

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        points: int,
        ffn: int,
        dropout: float,
        channels: Sequence[int],
        spatial_dims: int,
        project_first: bool | None,
    ) -> None:
        super().__init__()
        self.attention = DeformableAttention(
            dim=dim,
            heads=heads,
            points=points,
            channels=channels,
            spatial_dims=spatial_dims,
            project_first=project_first,
        )
        self.attention_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(inplace=True), nn.Linear(ffn, dim))
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, reference: Tensor, values: Sequence[Tensor]) -> Tensor:
        attended = self.attention(tokens + position, reference, values)
        tokens = self.attention_norm(tokens + self.dropout(attended))
        refined: Tensor = self.feed_forward_norm(tokens + self.dropout(self.feed_forward(tokens)))
        return refined


class FSADTransformer(nn.Module):
    """Refine the query levels of the encoder with features of all levels.

    ``channels`` are the widths of the encoder's levels, full resolution first; ``query_levels`` are indices into them.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        query_levels: Sequence[int],
        spatial_dims: int,
        dim: int = 128,
        heads: int = 4,
        points: int = 4,
        layers: int = 3,
        ffn: int = 512,
        dropout: float = 0.0,
        project_first: bool | None = None,
    ) -> None:
        super().__init__()
        self.query_levels = sorted(query_levels)
        if not self.query_levels or not 0 <= self.query_levels[0] <= self.query_levels[-1] < len(channels):
            raise ValueError(f"query_levels {list(query_levels)} must be some of the levels 0 to {len(channels) - 1}.")
        self.dim = dim
        conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        self.inputs = nn.ModuleList(
            nn.Sequential(conv(channels[i], dim, 1), nn.GroupNorm(1, dim)) for i in self.query_levels
        )
        outputs = [conv(dim, channels[i], 1) for i in self.query_levels]
        self.outputs = nn.ModuleList(outputs)
        self.level_embedding = nn.Parameter(torch.empty(len(self.query_levels), dim))
        self.layers = nn.ModuleList(
            FSADLayer(
                dim=dim,
                heads=heads,
                points=points,
                ffn=ffn,
                dropout=dropout,
                channels=[dim if i in self.query_levels else c for i, c in enumerate(channels)],
                spatial_dims=spatial_dims,
                project_first=project_first,
            )
            for _ in range(layers)
        )
        nn.init.normal_(self.level_embedding, std=0.02)
        for output in outputs:
            assert output.bias is not None
            nn.init.normal_(output.weight, std=0.02)
            nn.init.zeros_(output.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``features``: one ``[B, C_l, *shape_l]`` per encoder level, full resolution first; same shapes back."""
        shapes = [features[i].shape[2:] for i in self.query_levels]
        device = features[0].device
        reference = torch.cat([voxel_centres(s, device) for s in shapes])
        position = torch.cat(
            [
                sine_position_encoding(s, self.dim, device) + embedding
                for s, embedding in zip(shapes, self.level_embedding, strict=True)
            ]
        )
        tokens = torch.cat(
            [
                project(features[i]).flatten(2).transpose(1, 2)
                for i, project in zip(self.query_levels, self.inputs, strict=True)
            ],
            1,
        )
        counts = [math.prod(s) for s in shapes]
        values = [f.movedim(1, -1) for f in features]
        if device.type == "cpu":  # rows are read one by one: laid out for that once, and not in each layer
            values = [v if i in self.query_levels else v.contiguous() for i, v in enumerate(values)]
        for layer in self.layers:
            for i, shape, part in zip(self.query_levels, shapes, torch.split(tokens, counts, 1), strict=True):
                values[i] = torch.unflatten(part, 1, shape)
            tokens = layer(tokens, position, reference, values)
        refined = list(features)
        for i, shape, part, output in zip(
            self.query_levels, shapes, torch.split(tokens, counts, 1), self.outputs, strict=True
        ):
            refined[i] = features[i] + output(torch.unflatten(part.transpose(1, 2), 2, shape))
        return refined
