"""Trainers of MaskAttn-UNet inside nnU-Net: of labels, of objects, and of objects among regions without objects."""

from __future__ import annotations

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from maskmed_nnu.nnunet.checks import check_instance_labels, check_maskattn_plans, resolve_configuration
from maskmed_nnu.nnunet.instances.embedding_loss import EmbeddingLoss
from maskmed_nnu.nnunet.preprocessor import use_stock_preprocessor_without_hook
from maskmed_nnu.nnunet.trainers.dense import DenseTrainer
from maskmed_nnu.nnunet.trainers.instances import InstanceTrainer

WEIGHT_DECAY = 1e-3


class nnUNetTrainerMaskAttnUNet(DenseTrainer):
    """Labels or regions of images, with or without an ignore label, with nnU-Net's loss.

    Learning rate and deep supervision come from the plans (``maskattn_unet``).
    """

    supports_regions = True
    supports_3d = False

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        resolved = resolve_configuration(plans, configuration)
        check_maskattn_plans(plans, resolved, objects=False)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = resolved["maskattn_unet"]["learning_rate"]
        self.weight_decay = WEIGHT_DECAY
        self.enable_deep_supervision = resolved["maskattn_unet"]["deep_supervision"]

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        check_maskattn_plans(plans_manager.plans, configuration_manager.configuration, objects=False)
        use_stock_preprocessor_without_hook(configuration_manager.configuration)
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )


class nnUNetTrainerMaskAttnUNetInstance(InstanceTrainer):
    """Objects, by an embedding of pixels; the best checkpoint is the one of the highest AP50."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        resolved = resolve_configuration(plans, configuration)
        check_maskattn_plans(plans, resolved, objects=True)
        labels = LabelManager(dataset_json["labels"], dataset_json.get("regions_class_order"))
        check_instance_labels(plans, resolved, labels=labels, planner="MaskAttnUNetPlanner")
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = resolved["maskattn_unet"]["learning_rate"]
        self.weight_decay = WEIGHT_DECAY
        self.enable_deep_supervision = False

    def _build_loss(self) -> EmbeddingLoss:
        plan = self.configuration_manager.configuration
        return EmbeddingLoss(layer_classes=plan["instances"]["layer_classes"], **plan["instance_loss"])


class nnUNetTrainerMaskAttnUNetPanoptic(nnUNetTrainerMaskAttnUNetInstance):
    """Objects and the regions around them; the best checkpoint is the one of the highest panoptic quality."""

    followed = "PQ"
