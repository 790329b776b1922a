"""Trainers of ``compare_instances.py`` that the package does not have; ``_<N>minutes`` may follow their names."""

from __future__ import annotations

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.nnunet.training.trainers.base import PluginTrainer
from maskmed_nnu.nnunet.training.trainers.iaunet import nnUNetTrainerIAUNet


class nnUNetTrainerTimed(PluginTrainer):
    """nnU-Net's own trainer with a time budget: its network, loss, augmentation, SGD and polynomial decay.

    What it shares with ours is the clock: epochs by time, the learning rate at the share of the time that is spent, and
    batches of two on a CPU.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 1e-2

    set_deep_supervision_enabled = nnUNetTrainer.set_deep_supervision_enabled

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        return nnUNetTrainer.configure_optimizers(self)


class nnUNetTrainerIAUNetPublished(nnUNetTrainerIAUNet):
    """With the weight decay of IAUNet's released configuration, and its learning rate for all parameters."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 1e-4
        self.weight_decay = 0.05

    _parameter_groups = PluginTrainer._parameter_groups
