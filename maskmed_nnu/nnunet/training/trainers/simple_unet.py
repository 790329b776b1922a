"""Trainer of SimpleUNet inside nnU-Net: its loss and data, AdamW with a cosine as published."""

from __future__ import annotations

import torch

from maskmed_nnu.nnunet.plans_handling.checks import check_simple_unet_plans
from maskmed_nnu.nnunet.training.lr_scheduler import CosineLR
from maskmed_nnu.nnunet.training.trainers.pixelwise import PixelwiseTrainer


class nnUNetTrainerSimpleUNet(PixelwiseTrainer):
    """SimpleUNet and SimpleESKNet, in 2d and 3d_fullres."""

    plans_section = "simple_unet"
    check = staticmethod(check_simple_unet_plans)
    published_weight_decay = 1e-4

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, CosineLR]:
        optimizer, _ = super().configure_optimizers()
        return optimizer, CosineLR(optimizer, initial_lr=self.initial_lr, epochs=self.num_epochs)
