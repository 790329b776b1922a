"""MaskAttn-UNet's training loss for objects: cross-entropy on the semantic map beside the contrast of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.losses.contrastive import InstanceContrastiveLoss
from maskmed_nnu.losses.ranks import mean_over_ranks
from maskmed_nnu.networks.output import EmbeddingOutput

UNKNOWN = -1


class EmbeddingLoss(nn.Module):
    """Cross-entropy + ``contrastive_weight`` · `InstanceContrastiveLoss`, which gets the further ``settings``.

    The target is what `InstanceDataLoader` gives, ``[B, 1 + L, H, W]``; the classes of the ``L`` layers are
    ``layer_classes``. A pixel belongs to objects of its own class only, as in prediction: the one below a nucleus need
    not be like it. A crowd has a class and no object, so that only the cross-entropy sees it; nothing sees what lies
    outside the image. Fragments at the patch's border are objects like others: to be distinguished they need not be
    recognised. In evaluation mode the network returns logits alone, and the loss is the cross-entropy.
    """

    def __init__(self, *, layer_classes: Sequence[int], contrastive_weight: float, **settings: Any) -> None:
        super().__init__()
        self.contrast, self.contrastive_weight = InstanceContrastiveLoss(**settings), contrastive_weight
        self.layer_classes = torch.tensor(layer_classes).view(-1, 1, 1)

    def forward(self, output: EmbeddingOutput | Tensor, target: Tensor) -> Tensor:
        semantic, ids = target[:, 0].long(), target[:, 1:]
        logits = output.logits if isinstance(output, EmbeddingOutput) else output
        assert isinstance(logits, Tensor), "objects have no deep supervision"
        loss = F.cross_entropy(logits.float(), semantic, ignore_index=UNKNOWN, reduction="sum")
        # a batch of which nothing is known has no loss, where a mean would be NaN
        loss = loss / mean_over_ranks((semantic != UNKNOWN).sum())
        if not isinstance(output, EmbeddingOutput):
            return loss
        ids = ids.where(semantic[:, None] == self.layer_classes.to(semantic.device, non_blocking=True), 0)
        return loss + self.contrastive_weight * self.contrast(output.embeddings, ids)
