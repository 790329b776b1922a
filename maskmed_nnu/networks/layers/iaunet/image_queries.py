"""Queries from the image: the peaks of a heatmap of object centres.

"Objects as Points" (arXiv 1904.07850) for the heatmap; queries chosen from image features as in "Deformable DETR"
(arXiv 2010.04159, two-stage) instead of learned ones, which need days of training to specialise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PRIOR = 0.05
"""Probability of a centre at the start of the training, as in "Focal Loss" (arXiv 1708.02002)."""


class ImageQueries(nn.Module):
    """The ``num_queries`` highest peaks of the classes' heatmaps, and the image's features there.

    Each class has peaks of its own, so that a nucleus and the cell around it do not have to share a query; with several
    classes the query's content encodes the class of its peak.
    """

    def __init__(self, *, channels: int, dim: int, num_classes: int, num_queries: int) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.hidden = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.content = nn.Linear(channels, dim)
        # what depends on the number of classes is called .seg_layers. for nnU-Net's loader of pretrained weights
        heat = nn.Conv2d(channels, num_classes, 1)
        assert heat.bias is not None
        nn.init.normal_(heat.weight, std=0.01)
        nn.init.constant_(heat.bias, -math.log(1 / PRIOR - 1))
        self.seg_layers = nn.ModuleDict({"heat": heat})
        if num_classes > 1:
            self.seg_layers["classes"] = nn.Embedding(num_classes, dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``features [B, C, h, w]`` → content ``[B, Q, dim]``, reference points ``[B, Q, 2]`` (x, y) in [0, 1], and
        the heatmap's logits ``[B, K, h, w]``."""
        hidden = self.hidden(features)
        logits = self.seg_layers["heat"](hidden)
        height, width = features.shape[2:]
        # half precision cannot rank the positions that are no peaks
        peak = self._peaks(logits.detach().float())
        index = peak % (height * width)
        content = hidden.flatten(2).gather(2, index[:, None].expand(-1, hidden.shape[1], -1)).mT
        x = (index % width + 0.5) / width
        y = (index.div(width, rounding_mode="floor") + 0.5) / height
        content = self.content(content)
        if "classes" in self.seg_layers:
            content = content + self.seg_layers["classes"](peak.div(height * width, rounding_mode="floor"))
        return content, torch.stack((x, y), -1), logits

    def _peaks(self, heat: Tensor) -> Tensor:
        """Flat positions ``[B, Q]`` of the highest local maxima of ``heat [B, K, h, w]``, others after them."""
        local_maximum = F.max_pool2d(heat, 3, 1, 1)
        # all other positions follow after the peaks, by their heat
        heat_range = 1 + heat.amax((1, 2, 3), keepdim=True) - heat.amin((1, 2, 3), keepdim=True)
        score = torch.where(heat == local_maximum, heat, heat - heat_range).flatten(1)
        return score.topk(min(self.num_queries, score.shape[1]), 1).indices
