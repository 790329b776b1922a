"""Loss on the semantic output itself, the scores that prediction will use."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-6
CEILING = 0.99


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
    counts = torch.ones_like(truth[:, 0]) if weight is None else weight
    truth, counts = truth.to(score.dtype), counts.to(score.dtype)
    if regions:
        # several queries may claim one voxel: above the ceiling the penalty goes on as a straight line
        capped = score.clamp(max=CEILING)
        negative = (score - capped) / (1 - CEILING) - (1 - capped).log()
        entropy = ((1 - truth) * negative - truth * (score.clamp(max=1) + FLOOR).log()).mean(1)
        score = score.clamp(max=1)
        graded = counts.amax(1, keepdim=True).expand(-1, score.shape[1])
    else:
        score = (score + FLOOR) / (score + FLOOR).sum(1, keepdim=True)
        entropy = -(truth * score.log()).sum(1) / truth.sum(1).clamp(min=1)
        graded = (truth.amax(2) > 0).to(score.dtype)
    overlap = (truth * score).sum(2)
    size = (score * counts[:, None]).sum(2) + truth.sum(2)
    dice = 1 - (2 * overlap + 1) / (size + 1)
    entropy = (entropy * counts).sum(1) / counts.sum(1).clamp(min=1)
    return entropy + (dice * graded).sum(1) / graded.sum(1).clamp(min=1)
