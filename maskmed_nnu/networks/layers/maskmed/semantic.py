"""From query predictions to one dense map, which nnU-Net's inference averages and thresholds as usual."""

from __future__ import annotations

import torch
from torch import Tensor

from maskmed_nnu.networks.layers.exporting import sigmoid

SMALLEST_SCORE = 1e-6
"""Scores are clamped here: log 1e-6 = -13.8, times the sliding window's Gaussian (up to 10) times hundreds of
overlapping tiles stays far below the largest half, 65504."""


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """``S_c = sum over queries of softmax(class)_c * sigmoid(mask)``, "no object" dropped.

    ``class_logits [..., Q, K + 1]``, ``mask_logits [..., Q, N]`` → ``[..., K, N]``, in single precision at least.
    """
    dtype = torch.promote_types(class_logits.dtype, torch.float32)
    with torch.autocast(class_logits.device.type, enabled=False):
        classes = class_logits.to(dtype).softmax(-1)[..., :-1]
        return classes.transpose(-1, -2) @ sigmoid(mask_logits.to(dtype))


def scores_to_logits(scores: Tensor, regions: bool) -> Tensor:
    """``scores [..., K, N]`` → logits of the same shape.

    They are ``log S`` for labels (softmax of it is ``S / sum S``), ``logit S`` for regions (sigmoid of it is ``S``).
    """
    if regions:
        return scores.clamp(SMALLEST_SCORE, 1 - SMALLEST_SCORE).logit()
    return scores.clamp_min(SMALLEST_SCORE).log()
