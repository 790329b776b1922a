"""Queries from the image: the peaks of a heatmap of object centres.

"Objects as Points" (arXiv 1904.07850) for the heatmap; queries chosen from image features as in "Deformable DETR"
(arXiv 2010.04159, two-stage) instead of learned ones, which need days of training to specialise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from maskmed_nnu.dimensions import CONV, MAX_POOL, spatial_axes, unravel

PRIOR = 0.05
"""Probability of a centre at the start of the training, as in "Focal Loss" (arXiv 1708.02002)."""


class ImageQueries(nn.Module):
    """The ``num_queries`` highest peaks of the classes' heatmaps, and the image's features there.

    Each class has peaks of its own, so that a nucleus and the cell around it do not have to share a query; with several
    classes the query's content encodes the class of its peak.
    """

    def __init__(self, *, channels: int, dim: int, spatial_dims: int, num_classes: int, num_queries: int) -> None:
        super().__init__()
        self.num_queries, conv = num_queries, CONV[spatial_dims]
        self.hidden = nn.Sequential(conv(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.content = nn.Linear(channels, dim)
        # what depends on the number of classes is called .seg_layers. for nnU-Net's loader of pretrained weights
        heat = conv(channels, num_classes, 1)
        assert heat.bias is not None
        nn.init.normal_(heat.weight, std=0.01)
        nn.init.constant_(heat.bias, -math.log(1 / PRIOR - 1))
        self.seg_layers = nn.ModuleDict({"heat": heat})
        if num_classes > 1:
            self.seg_layers["classes"] = nn.Embedding(num_classes, dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``features [B, C, *spatial]`` → content ``[B, Q, dim]``, reference points ``[B, Q, dims]`` (x, y, z) in
        [0, 1], and the heatmap's logits ``[B, K, *spatial]``."""
        hidden = self.hidden(features)
        logits = self.seg_layers["heat"](hidden)
        shape = features.shape[2:]
        positions = math.prod(shape)
        # half precision cannot rank the positions that are no peaks
        peak = self._peaks(logits.detach().float())
        index = peak % positions
        content = hidden.flatten(2).gather(2, index[:, None].expand(-1, hidden.shape[1], -1)).mT
        reference = [(place + 0.5) / edge for place, edge in zip(unravel(index, shape), shape[::-1], strict=True)]
        content = self.content(content)
        if "classes" in self.seg_layers:
            content = content + self.seg_layers["classes"](peak.div(positions, rounding_mode="floor"))
        return content, torch.stack(reference, -1), logits

    def _peaks(self, heat: Tensor) -> Tensor:
        """Flat positions ``[B, Q]`` of the highest local maxima of ``heat [B, K, *spatial]``, others after them."""
        local_maximum = MAX_POOL[heat.ndim - 2](heat, 3, 1, 1)
        # all other positions follow after the peaks, by their heat
        axes = (1, *spatial_axes(heat))
        heat_range = 1 + heat.amax(axes, keepdim=True) - heat.amin(axes, keepdim=True)
        score = torch.where(heat == local_maximum, heat, heat - heat_range).flatten(1)
        return score.topk(min(self.num_queries, score.shape[1]), 1).indices
