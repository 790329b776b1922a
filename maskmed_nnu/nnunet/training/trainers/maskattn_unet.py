"""Trainers of MaskAttn-UNet inside nnU-Net: of labels, of objects, and of objects among regions without objects."""

from __future__ import annotations

from functools import partial

import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.nnunet.plans_handling.checks import check_instance_labels, check_maskattn_plans
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.training.loss.embedding_loss import EmbeddingLoss
from maskmed_nnu.nnunet.training.trainers.instance import InstanceTrainer
from maskmed_nnu.nnunet.training.trainers.pixelwise import PixelwiseTrainer

WEIGHT_DECAY = 1e-3


class nnUNetTrainerMaskAttnUNet(PixelwiseTrainer):
    """Labels or regions of images."""

    plans_section = "maskattn_unet"
    check = staticmethod(partial(check_maskattn_plans, objects=False))
    published_weight_decay = WEIGHT_DECAY


class nnUNetTrainerMaskAttnUNetInstance(InstanceTrainer):
    """Objects, by an embedding of pixels; the best checkpoint is the one of the highest AP50."""

    check = staticmethod(partial(check_maskattn_plans, objects=True))

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
        labels = LabelManager(dataset_json["labels"], dataset_json.get("regions_class_order"))
        check_instance_labels(plans, resolved, labels=labels, planner="MaskAttnUNetPlanner")
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = resolved["maskattn_unet"]["learning_rate"]
        self.weight_decay = WEIGHT_DECAY
        self.enable_deep_supervision = False

    def _build_loss(self) -> EmbeddingLoss:
        configuration = self.configuration_manager.configuration
        return EmbeddingLoss(
            layer_classes=configuration["instances"]["layer_classes"], **configuration["instance_loss"]
        )


class nnUNetTrainerMaskAttnUNetPanoptic(nnUNetTrainerMaskAttnUNetInstance):
    """Objects and the regions around them; the best checkpoint is the one of the highest panoptic quality."""

    tracked_metric = "PQ"
