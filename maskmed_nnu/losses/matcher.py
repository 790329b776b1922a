"""Bipartite matching of queries and targets.

"Masked-attention Mask Transformer for Universal Image Segmentation" (arXiv 2112.01527), with its three costs. Here the
costs of all supervised layers and all samples of a batch go to the host in one transfer.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    masks: Tensor,
    classes: Tensor,
    weight: Tensor | None = None,
    *,
    class_weight: float,
    bce_weight: float,
    dice_weight: float,
) -> Tensor:
    """Cost ``[L, B, Q, T]`` of giving target ``t`` to query ``q``.

    ``class_logits [L, B, Q, K + 1]``, ``mask_logits [B, L, Q, P]``, ``masks [B, T, P]`` of the logits' dtype and 0
    where a point does not count, ``classes [B, T]``, ``weight [B, P]`` bool (None: every point counts).
    Class: minus the probability of the target's class. BCE: mean over the points that count. Dice: smoothing 1.
    """
    layers, queries, points = mask_logits.shape[1:]
    probability = class_logits.softmax(-1).gather(-1, classes[None, :, None].expand(layers, -1, queries, -1))
    rows = mask_logits.flatten(1, 2)
    soft, sigmoid = F.softplus(rows), rows.sigmoid()
    if weight is None:
        count, soft, size = points, soft.sum(-1, keepdim=True), sigmoid.sum(-1, keepdim=True)
    else:
        column = weight.to(rows.dtype)[..., None]
        count, soft, size = column.sum(1, keepdim=True).clamp(min=1), soft @ column, sigmoid @ column
    # BCE(x, y) = softplus(x) - x y, so that one product per term serves all pairs
    bce = (soft - rows @ masks.mT) / count
    dice = 1 - (2 * (sigmoid @ masks.mT) + 1) / (size + masks.sum(-1)[:, None] + 1)
    pair = (bce_weight * bce + dice_weight * dice).unflatten(1, (layers, queries))
    return pair.transpose(0, 1) - class_weight * probability


def assign(cost: Tensor, counts: list[int]) -> Tensor:
    """The query of each target, ``[L, B, T]`` int64 on the host, -1 where a target has none.

    ``cost [L, B, Q, T]``; sample ``b`` has ``counts[b]`` targets, what follows is padding. With more targets than
    queries the dearest targets stay without a query. A cost that is not finite is taken only if nothing else is left.
    """
    limit = np.finfo(np.float32).max
    host = np.nan_to_num(cost.cpu().double().numpy(), nan=limit, posinf=limit, neginf=limit)
    query = np.full(host.shape[:2] + host.shape[3:], -1, dtype=np.int64)
    for layer, sample in np.ndindex(*host.shape[:2]):
        row, column = linear_sum_assignment(host[layer, sample, :, : counts[sample]])
        query[layer, sample, column] = row
    return torch.from_numpy(query)
