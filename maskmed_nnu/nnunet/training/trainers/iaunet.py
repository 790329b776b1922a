"""Trainer of IAUNet inside nnU-Net: objects instead of labels, everything else as nnU-Net does it."""

from __future__ import annotations

import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import nn

from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead
from maskmed_nnu.nnunet.plans_handling.checks import check_iaunet_plans, check_instance_labels
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.training.loss.instance_loss import InstanceLoss
from maskmed_nnu.nnunet.training.trainers.instance import InstanceTrainer

ATTENTION_LR_SCALE = 0.1


class nnUNetTrainerIAUNet(InstanceTrainer):
    """Instance segmentation; the best checkpoint is the one of the highest AP50."""

    check = staticmethod(check_iaunet_plans)

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
        type(self).check(plans, resolved)
        check_instance_labels(plans, resolved, labels=labels, planner="IAUNetPlanner")
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 5e-3
        self.weight_decay = 1e-2

    def _build_loss(self) -> InstanceLoss:
        configuration = self.configuration_manager.configuration
        settings = dict(configuration["instance_loss"])
        dense_weight = settings.pop("dense_weight")
        network = self.network.module if self.is_ddp else self.network
        network = getattr(network, "_orig_mod", network)
        common = {"num_classes": len(configuration["instances"]["thing_classes"]), "mask_head": network.mask_head}
        if isinstance(network.mask_head, DynamicMaskHead):
            criterion: nn.Module = LocationCriterion(window=network.window, **common, **settings)
        else:
            criterion = SetCriterion(**common, **settings)
        return InstanceLoss(
            criterion=criterion,
            instances=configuration["instances"],
            num_classes=self.label_manager.num_segmentation_heads,
            dense_weight=dense_weight,
            batch_dice=configuration["batch_dice"],
            is_ddp=self.is_ddp,
        )

    def _parameter_groups(self) -> list[dict]:
        """The decoder's attention learns at a tenth of the rate, without which it diverged."""
        attention: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            (attention if "decoder.blocks." in name and "pixel_decoder" not in name else others).append(parameter)
        groups: list[dict] = [{"params": others}]
        return [*groups, {"params": attention, "lr_scale": ATTENTION_LR_SCALE}] if attention else groups
