"""Our trainers with a handful of iterations, and the same ones each time; everything else is the real one."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from maskmed_nnu.nnunet.training.trainers.base import PluginTrainer
from maskmed_nnu.nnunet.training.trainers.iaunet import nnUNetTrainerIAUNet
from maskmed_nnu.nnunet.training.trainers.maskattn_unet import (
    nnUNetTrainerMaskAttnUNet,
    nnUNetTrainerMaskAttnUNetInstance,
    nnUNetTrainerMaskAttnUNetPanoptic,
)
from maskmed_nnu.nnunet.training.trainers.maskmed import nnUNetTrainerMaskMed
from maskmed_nnu.nnunet.training.trainers.mirror_aware import nnUNetTrainerMirrorAware
from maskmed_nnu.nnunet.training.trainers.simple_unet import nnUNetTrainerSimpleUNet


def seed_all() -> None:
    """So few steps do not always suffice; these do. Weights, patches and augmentation follow, in one process."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)


class Tiny(PluginTrainer):
    """``TINY_KILL_AFTER=<epoch>`` in the environment ends the process after that epoch, as a power cut would."""

    iterations, seconds = 3, 0.0

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        seed_all()
        self.num_epochs = 2
        self.num_iterations_per_epoch = self.iterations
        self.num_val_iterations_per_epoch = 2
        self.save_every = 1
        self.progress_seconds = self.seconds

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        if os.environ.get("TINY_KILL_AFTER") == str(self.current_epoch - 1):
            os._exit(9)


class nnUNetTrainerMirrorAwareTiny(nnUNetTrainerMirrorAware):
    """nnU-Net's own trainer, which has none of our attributes."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        seed_all()
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 100, 2
        self.save_every = 1

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """Adam learns the sides in these few steps, nnU-Net's SGD does not."""
        optimizer = torch.optim.AdamW(self.network.parameters(), 5e-3)
        return optimizer, PolyLRScheduler(optimizer, 5e-3, self.num_epochs)


class nnUNetTrainerMaskMedTiny(Tiny, nnUNetTrainerMaskMed):
    pass


class nnUNetTrainerIAUNetTiny(Tiny, nnUNetTrainerIAUNet):
    """120 steps, seconds with the tests' plans, after which bright cells are found."""

    iterations, seconds = 60, 1.0


class nnUNetTrainerSimpleUNetTiny(Tiny, nnUNetTrainerSimpleUNet):
    """As many steps as it takes to tell a bright box from a ball and from the background."""

    iterations, seconds = 100, 1.0


class MaskAttnTiny(Tiny):
    """200 steps, in which a narrow network learns bright things."""

    iterations, seconds = 100, 1.0


class nnUNetTrainerMaskAttnUNetTiny(MaskAttnTiny, nnUNetTrainerMaskAttnUNet):
    pass


class nnUNetTrainerMaskAttnUNetInstanceTiny(MaskAttnTiny, nnUNetTrainerMaskAttnUNetInstance):
    pass


class nnUNetTrainerMaskAttnUNetPanopticTiny(MaskAttnTiny, nnUNetTrainerMaskAttnUNetPanoptic):
    pass
