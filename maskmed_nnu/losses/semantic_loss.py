"""Loss on the semantic output itself, the scores used in prediction."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SCORE = 1e-6
MAX_SCORE = 0.99


def semantic_loss(
    class_logits: Tensor, mask_logits: Tensor, truth: Tensor, weight: Tensor | None, *, regions: bool
) -> Tensor:
    """Loss per sample ``[B]`` of ``S_c = sum_q softmax(class_q)[c] sigmoid(mask_q)`` at points.

    ``class_logits [B, Q, K + 1]``, ``mask_logits [B, Q, P]``, ``truth [B, K, P]`` bool, ``weight [B, P]`` bool or None;
    ``truth`` is False where a point does not count.
    Labels: cross-entropy of ``S / sum S`` plus 1 - soft Dice over the classes present. Regions: binary cross-entropy of
    ``S`` plus 1 - soft Dice over all regions. Zero for a sample without points that count.
    """
    probability = class_logits.softmax(-1)[..., :-1]
    score = probability.mT @ mask_logits.sigmoid()
    valid = torch.ones_like(truth[:, 0]) if weight is None else weight
    truth, valid = truth.to(score.dtype), valid.to(score.dtype)
    if regions:
        # several queries may claim one voxel: above the maximum the penalty is linear
        capped = score.clamp(max=MAX_SCORE)
        negative = (score - capped) / (1 - MAX_SCORE) - (1 - capped).log()
        entropy = ((1 - truth) * negative - truth * (score.clamp(max=1) + MIN_SCORE).log()).mean(1)
        score = score.clamp(max=1)
        class_weight = valid.amax(1, keepdim=True).expand(-1, score.shape[1])
    else:
        score = (score + MIN_SCORE) / (score + MIN_SCORE).sum(1, keepdim=True)
        entropy = -(truth * score.log()).sum(1) / truth.sum(1).clamp(min=1)
        class_weight = (truth.amax(2) > 0).to(score.dtype)
    overlap = (truth * score).sum(2)
    size = (score * valid[:, None]).sum(2) + truth.sum(2)
    dice = 1 - (2 * overlap + 1) / (size + 1)
    entropy = (entropy * valid).sum(1) / valid.sum(1).clamp(min=1)
    return entropy + (dice * class_weight).sum(1) / class_weight.sum(1).clamp(min=1)
