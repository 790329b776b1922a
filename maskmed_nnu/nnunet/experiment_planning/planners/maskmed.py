"""Planners of MaskMed: nnU-Net's own plans with the query head and the FSAD-Transformer in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.networks.maskmed import MaskMed
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids
from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import add_mirroring
from maskmed_nnu.nnunet.plans_handling.label_export import plan_label_export
from maskmed_nnu.nnunet.plans_handling.meta_network import feature_map_size, meta_network
from maskmed_nnu.nnunet.plans_handling.settings.maskmed import MaskMedOrigin
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import PREPROCESSOR, choose_preprocessor
from maskmed_nnu.version import package_version


class MaskMedPlanning(ExperimentPlanner):
    """Mixed into one of nnU-Net's planners: the same plan, made for MaskMed.

    nnU-Net searches the patch with `static_estimate_VRAM_usage`; here that sees the whole network with the settings
    that the candidate patch would get, so that its memory target holds with the transformers in it.
    """

    preprocessor_name: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UNet_class = MaskMed
        self.preprocessor_name = choose_preprocessor(self.preprocessor_name)
        labels = LabelManager(self.dataset_json["labels"], self.dataset_json.get("regions_class_order"))
        self.num_classes = labels.num_segmentation_heads
        self.regions = labels.has_regions

    check_data_set = staticmethod(check_grids)  # before nnU-Net takes its fingerprint

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Data of its own for every plans file: nothing that another planner preprocessed is ever overwritten."""
        return f"{self.plans_identifier}_{configuration_name}"

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: Sequence[str],
    ) -> float:
        """Feature map size of the whole network for a candidate."""
        settings = {**arch_kwargs, **self._settings(patch_size, arch_kwargs)}
        network = meta_network(arch_class_name, settings, arch_kwargs_req_import, input_channels, self.num_classes)
        return feature_map_size(network, patch_size)

    def get_plans_for_configuration(
        self,
        spacing: np.ndarray | Sequence[float],
        median_shape: np.ndarray | Sequence[int],
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict,
    ) -> dict:
        plan = super().get_plans_for_configuration(
            spacing, median_shape, data_identifier, approximate_n_voxels_dataset, _cache
        )
        arch_kwargs = plan["architecture"]["arch_kwargs"]
        arch_kwargs.update(self._settings(plan["patch_size"], arch_kwargs))
        plan["set_loss"] = maskmed_rules.loss_settings(plan["patch_size"])
        return plan

    def save_plans(self, plans: dict) -> None:
        plans["maskmed_nnu"] = MaskMedOrigin.plan(version=package_version(), num_classes=self.num_classes)
        for name, configuration in plans["configurations"].items():
            if "architecture" in configuration:
                print(maskmed_rules.explain(name, configuration, num_classes=self.num_classes), end="\n\n")
        plan_label_export(plans, self.num_classes)
        add_mirroring(plans, self.dataset_name, self.dataset_json)
        super().save_plans(plans)

    def _settings(self, patch_size: Sequence[int], arch_kwargs: dict) -> dict:
        return maskmed_rules.network_settings(
            patch_size, arch_kwargs["strides"], num_classes=self.num_classes, regions=self.regions
        )


class MaskMedPlanner(MaskMedPlanning):
    """nnU-Net's plain encoder and decoder, 8 GB."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "MaskMedPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)


class MaskMedPlannerResEncM(MaskMedPlanning, nnUNetPlannerResEncM):
    """nnU-Net's residual encoder, preset M, 8 GB."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "MaskMedResEncMPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)


class MaskMedPlannerResEncL(MaskMedPlanning, nnUNetPlannerResEncL):
    """nnU-Net's residual encoder, preset L, 24 GB."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 24,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "MaskMedResEncLPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
