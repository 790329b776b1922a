"""Trainer of networks with nnU-Net's loss, for plans of a `PixelwisePlanner`."""

from __future__ import annotations

from typing import ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from maskmed_nnu.nnunet.plans_handling.checks import check_pixelwise_plans
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.settings.pixelwise import SECTION
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import use_stock_preprocessor_without_hook
from maskmed_nnu.nnunet.training.trainers.semantic import SemanticTrainer


class PixelwiseTrainer(SemanticTrainer):
    """nnU-Net's loss on labels or regions, with or without an ignore label.

    Learning rate and deep supervision come from ``plans_section`` of the plans, which ``check`` has accepted. A
    subclass for plans of a `PixelwisePlanner` names the ``planner`` alone.
    """

    planner: ClassVar[str]
    plans_section: ClassVar[str] = SECTION
    published_weight_decay: ClassVar[float] = 1e-4

    @classmethod
    def check(cls, plans: dict, configuration: dict) -> None:
        """Refuse plans of another planner than ``planner``, and settings that its network cannot have.

        Raises
        ------
        InputError
        """
        check_pixelwise_plans(plans, configuration, planner=cls.planner)

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        resolved = resolve_configuration(plans, configuration)
        type(self).check(plans, resolved)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = resolved[self.plans_section]["learning_rate"]
        self.weight_decay = self.published_weight_decay
        self.enable_deep_supervision = resolved[self.plans_section]["deep_supervision"]

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        cls.check(plans_manager.plans, configuration_manager.configuration)
        use_stock_preprocessor_without_hook(configuration_manager.configuration)
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
