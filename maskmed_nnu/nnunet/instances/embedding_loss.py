"""MaskAttn-UNet's training loss for objects: cross-entropy on the semantic map beside the contrast of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.losses.contrastive import InstanceContrastiveLoss
from maskmed_nnu.networks.output import EmbeddingOutput
from maskmed_nnu.nnunet.instances.targets import instance_targets

UNKNOWN = -1


class EmbeddingLoss(nn.Module):
    """Cross-entropy + ``contrastive_weight`` · `InstanceContrastiveLoss`, which gets the further ``settings``.

    The target is what `InstanceDataLoader` gives, ``[B, 1 + L, H, W]``. ``instances`` are the plan's settings of that
    name. In evaluation mode the network answers logits alone, and the loss is the cross-entropy.
    """

    def __init__(self, *, instances: dict, contrastive_weight: float, **settings: object) -> None:
        super().__init__()
        self.contrast, self.contrastive_weight = InstanceContrastiveLoss(**settings), contrastive_weight
        self.layer_classes: Sequence[int] = instances["layer_classes"]
        self.thing_classes: Sequence[int] = instances["thing_classes"]
        self.min_fragment: Sequence[int] = instances["min_fragment"]

    def forward(self, output: EmbeddingOutput | Tensor, target: Tensor) -> Tensor:
        logits = output.logits if isinstance(output, EmbeddingOutput) else output
        loss = F.cross_entropy(logits.float(), target[:, 0].long(), ignore_index=UNKNOWN, reduction="sum")
        # a patch of which nothing is known has no loss, where a mean would be a NaN
        loss = loss / (target[:, 0] != UNKNOWN).sum().clamp(min=1)
        if not isinstance(output, EmbeddingOutput):
            return loss
        return loss + self.contrastive_weight * self.contrast(output.embeddings, self._ids(target))

    def _ids(self, target: Tensor) -> Tensor:
        """``[B, L, H, W]``: the layers of ids, -1 where nobody can say what belongs there (`instance_targets`)."""
        objects = instance_targets(
            target,
            layer_classes=self.layer_classes,
            thing_classes=self.thing_classes,
            min_fragment=self.min_fragment,
        )
        layers = [one.maps if one.valid is None else one.maps.masked_fill(~one.valid, UNKNOWN) for one in objects]
        return torch.stack(layers)
