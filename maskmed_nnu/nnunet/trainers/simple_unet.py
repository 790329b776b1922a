"""Trainer of SimpleUNet inside nnU-Net: its loss and data, AdamW with a cosine as published."""

from __future__ import annotations

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from maskmed_nnu.nnunet.checks import check_simple_unet_plans, resolve_configuration
from maskmed_nnu.nnunet.preprocessor import use_stock_preprocessor_without_hook
from maskmed_nnu.nnunet.schedule import CosineLR
from maskmed_nnu.nnunet.trainers.dense import DenseTrainer


class nnUNetTrainerSimpleUNet(DenseTrainer):
    """SimpleUNet and SimpleESKNet, in 2d and 3d_fullres; labels or regions, with or without an ignore label.

    Learning rate and deep supervision come from the plans (``simple_unet``).
    """

    supports_regions = True
    supports_3d = True

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        resolved = resolve_configuration(plans, configuration)
        check_simple_unet_plans(plans, resolved)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = resolved["simple_unet"]["learning_rate"]
        self.weight_decay = 1e-4
        self.enable_deep_supervision = resolved["simple_unet"]["deep_supervision"]

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        check_simple_unet_plans(plans_manager.plans, configuration_manager.configuration)
        use_stock_preprocessor_without_hook(configuration_manager.configuration)
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, CosineLR]:
        optimizer, _ = super().configure_optimizers()
        return optimizer, CosineLR(optimizer, initial_lr=self.initial_lr, epochs=self.num_epochs)
