"""Bipartite matching of queries and targets.

"Masked-attention Mask Transformer for Universal Image Segmentation" (arXiv 2112.01527), with its three costs. How this
version differs: logits are summed per target instead of multiplied with a stack of masks, so that the cost does not
depend on the number of targets; points come in chunks; the costs of all supervised layers and samples go to the host in
one transfer.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from maskmed_nnu.losses.pair_loss import log_sigmoid_sum


class PairSums:
    """Sums over points for the mask costs of all pairs; the points may come in any number of chunks.

    ``B`` samples, ``R`` mask predictions each, ``T`` targets each (padded).
    """

    def __init__(self, *, batch: int, rows: int, targets: int, like: Tensor) -> None:
        self.count = like.new_zeros(batch, 1, 1)
        self.size = like.new_zeros(batch, 1, targets + 1)
        self.soft = like.new_zeros(batch, rows, 1)
        self.sigmoid = like.new_zeros(batch, rows, 1)
        self.logit_inside = like.new_zeros(batch, rows, targets + 1)
        self.sigmoid_inside = like.new_zeros(batch, rows, targets + 1)

    def add(self, logits: Tensor, target_index: Tensor, weight: Tensor | None) -> None:
        """Logits ``[B, R, P]`` at points that belong to the targets ``target_index [B, layers, P]`` (``T``: to none).

        ``weight [B, P]`` is False where a point does not count, None if every point counts.
        """
        sigmoid = logits.sigmoid()
        valid = None if weight is None else weight[:, None]
        self.soft -= log_sigmoid_sum(sigmoid, valid)[..., None]
        if weight is None:
            counted = logits.new_ones(len(logits), 1, logits.shape[-1])
            self.soft += logits.relu().sum(-1, keepdim=True)
            self.sigmoid += sigmoid.sum(-1, keepdim=True)
        else:
            target_index = target_index.masked_fill(~weight[:, None], self.size.shape[-1] - 1)
            counted = weight[:, None].to(logits.dtype)
            self.soft += logits.relu() @ counted.mT
            self.sigmoid += sigmoid @ counted.mT
        self.count += counted.sum(-1, keepdim=True)
        for layer_index in torch.split(target_index, 1, 1):
            index = layer_index.expand_as(logits)
            self.size.scatter_add_(2, layer_index, counted)
            self.logit_inside.scatter_add_(2, index, logits)
            self.sigmoid_inside.scatter_add_(2, index, sigmoid)

    def bce(self) -> Tensor:
        """Binary cross-entropy ``[B, R, T]``, mean over the points; BCE(x, y) = softplus(x) - x y."""
        return (self.soft - self.logit_inside[..., :-1]) / self.count.clamp(min=1)

    def dice(self) -> Tensor:
        """1 - Dice ``[B, R, T]`` with smoothing 1 in numerator and denominator."""
        return 1 - (2 * self.sigmoid_inside[..., :-1] + 1) / (self.sigmoid + self.size[..., :-1] + 1)


def class_cost(class_logits: Tensor, classes: Tensor) -> Tensor:
    """Minus the probability of each target's class, ``[L, B, Q, T]``.

    ``class_logits [L, B, Q, K + 1]``, ``classes [B, T]``.
    """
    index = classes[None, :, None].expand(len(class_logits), -1, class_logits.shape[2], -1)
    return -class_logits.softmax(-1).gather(-1, index)


def assign(cost: Tensor, counts: list[int]) -> Tensor:
    """The query of each target, ``[L, B, T]`` int64 on the host, -1 where a target has none.

    ``cost [L, B, Q, T]``; sample ``b`` has ``counts[b]`` targets, what follows is padding. With more targets than
    queries, the most expensive targets stay without one. A cost that is not finite is used only if no other is left.
    """
    limit = float(np.finfo(np.float32).max)
    host = np.nan_to_num(cost.cpu().double().numpy(), nan=limit, posinf=limit, neginf=limit)
    query = np.full(host.shape[:2] + host.shape[3:], -1, dtype=np.int64)
    for layer, sample in np.ndindex(*host.shape[:2]):
        row, column = linear_sum_assignment(host[layer, sample, :, : counts[sample]])
        query[layer, sample, column] = row
    return torch.from_numpy(query)
