"""Trainer of MaskMed inside nnU-Net: set loss, AdamW, and everything else as nnU-Net does it."""

from __future__ import annotations

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.nnunet.plans_handling.checks import check_maskmed_plans, check_regions
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import use_stock_preprocessor_without_hook
from maskmed_nnu.nnunet.training.loss.maskmed_loss import MaskMedLoss
from maskmed_nnu.nnunet.training.trainers.semantic import SemanticTrainer


class nnUNetTrainerMaskMed(SemanticTrainer):
    """MaskMed in 2d, 3d_fullres, 3d_lowres and the cascade; labels or regions, with or without an ignore label."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        resolved = resolve_configuration(plans, configuration)
        labels = LabelManager(dataset_json["labels"], dataset_json.get("regions_class_order"))
        check_maskmed_plans(plans, resolved, num_heads=labels.num_segmentation_heads)
        check_regions(plans, resolved, has_regions=labels.has_regions)
        super().__init__(plans, configuration, fold, dataset_json, device)

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        check_maskmed_plans(plans_manager.plans, configuration_manager.configuration, num_heads=num_output_channels)
        use_stock_preprocessor_without_hook(configuration_manager.configuration)
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )

    def _build_loss(self) -> MaskMedLoss:
        settings = dict(self.configuration_manager.configuration["set_loss"])
        aux_weight = settings.pop("aux_weight")
        head = self.configuration_manager.network_arch_init_kwargs.get("head", "queries")
        criterion = SetCriterion(
            num_classes=self.label_manager.num_segmentation_heads,
            mask_head=DotProductMaskHead(),
            matching="fixed" if head == "unmatched_queries" else "bipartite",
            regions=self.label_manager.has_regions,
            **settings,
        )
        with self._without_deep_supervision():
            dense = super()._build_loss()
        return MaskMedLoss(
            criterion=criterion,
            dense=dense,
            num_classes=self.label_manager.num_segmentation_heads,
            regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            aux_weight=aux_weight,
            is_ddp=self.is_ddp,
        )


class nnUNetTrainerMaskMedDemo(nnUNetTrainerMaskMed):
    """A short schedule for small data sets on a laptop: 17 epochs of 25 iterations, no validation.

    The demo trains on all cases, so that nnU-Net's final validation would only predict the training cases again.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 17
        self.num_iterations_per_epoch = 25
        self.num_val_iterations_per_epoch = 4
        self.progress_seconds = 5.0

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self.print_to_log_file("No final validation: the unseen cases are predicted next.")
