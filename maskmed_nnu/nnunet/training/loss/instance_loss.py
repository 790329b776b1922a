"""IAUNet's training loss: the queries' loss beside nnU-Net's own on the dense head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from maskmed_nnu.losses.centres import at_cells
from maskmed_nnu.networks.output import QueryOutput
from maskmed_nnu.nnunet.training.loss.instance_targets import instance_targets


class InstanceLoss(nn.Module):
    """``criterion`` on the objects, ``dense_weight`` · (Dice + cross-entropy) on the semantic map.

    The target is what `InstanceDataLoader` gives, ``[B, 1 + L, *spatial]``. ``instances`` are the plan's settings of
    that name, ``num_classes`` counts the labels with background; ``batch_dice`` is nnU-Net's setting.
    """

    def __init__(
        self,
        *,
        criterion: nn.Module,
        instances: dict,
        num_classes: int,
        dense_weight: float,
        batch_dice: bool,
        is_ddp: bool,
    ) -> None:
        super().__init__()
        self.criterion, self.dense_weight, self.ignore_label = criterion, dense_weight, num_classes
        self.layer_classes: Sequence[int] = instances["layer_classes"]
        self.thing_classes: Sequence[int] = instances["thing_classes"]
        self.min_fragment: Sequence[int] = instances["min_fragment"]
        self.dense = DC_and_CE_loss(
            {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": is_ddp},
            {},
            ignore_label=self.ignore_label,
            dice_class=MemoryEfficientSoftDiceLoss,
        )

    def forward(self, output: QueryOutput, target: Tensor) -> Tensor:
        objects = instance_targets(
            target,
            layer_classes=self.layer_classes,
            thing_classes=self.thing_classes,
            min_fragment=self.min_fragment,
        )
        loss = self.criterion(output, objects).total
        if output.dense_logits:
            logits = output.dense_logits[0]
            stride = [edge // cells for edge, cells in zip(target.shape[2:], logits.shape[2:], strict=True)]
            semantic = at_cells(target[:, :1], stride)
            semantic = torch.where(semantic < 0, self.ignore_label, semantic)
            loss = loss + self.dense_weight * self.dense(logits, semantic)
        return loss
