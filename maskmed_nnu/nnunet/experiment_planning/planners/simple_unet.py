"""Planners of SimpleUNet: nnU-Net's plan for its own network, with a network of a fixed width in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.simple_unet import SimpleESKNet, SimpleUNet
from maskmed_nnu.nnunet.plans_handling.meta_network import cost, feature_map_size, meta_network
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.simple_unet import (
    PixelwiseTraining,
    SimpleUNetSettings,
    SkeletonSettings,
)
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import PREPROCESSOR, choose_preprocessor
from maskmed_nnu.version import package_version

CONFIGURATIONS = ("2d", "3d_fullres")
SELECTION_RATE, PUBLISHED_SELECTION_RATE = 0.375, 0.5
"""On the hippocampus in 3D the smaller one was no worse, and it keeps width 32 below 1/40 of nnU-Net's parameters."""


class SimpleUNetPlanner(ExperimentPlanner):
    """Width 32, one block per stage.

    Patch, batch, strides and kernels are those that nnU-Net plans for its own network, so that the two are trained on
    the same patches; memory for them is more than enough. Configurations other than 2d and 3d_fullres are left out.
    """

    preprocessor_name: str
    network: type[torch.nn.Module] = SimpleUNet
    preset = SimpleUNetSettings.plan(selection_rate=SELECTION_RATE)

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "SimpleUNetPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
        self.preprocessor_name = choose_preprocessor(self.preprocessor_name)

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: Sequence[str],
    ) -> float:
        """nnU-Net's measure of its own network."""
        if arch_kwargs["n_stages"] < 2:
            patch = "×".join(str(int(edge)) for edge in patch_size)
            raise InputError(
                f"The images of {self.dataset_name} are too small for SimpleUNet: nnU-Net plans a patch of {patch}, "
                "which it does not downsample along any axis. Use images of at least 8 voxels along one axis."
            )
        network = meta_network(arch_class_name, arch_kwargs, arch_kwargs_req_import, input_channels, output_channels)
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
        plan["architecture"] = self._architecture(plan["architecture"]["arch_kwargs"])
        plan["simple_unet"] = PixelwiseTraining.plan()
        return plan

    def save_plans(self, plans: dict) -> None:
        plans["maskmed_nnu"] = Origin.plan(version=package_version())
        for name in [name for name in plans["configurations"] if name not in CONFIGURATIONS]:
            del plans["configurations"][name]
        for name, configuration in plans["configurations"].items():
            print(self._explain(name, configuration), end="\n\n")
        super().save_plans(plans)

    def _architecture(self, stock: dict) -> dict:
        """``stock`` are the settings of nnU-Net's network."""
        kept = ["n_stages", "conv_op", "strides"]
        kept += ["kernel_sizes"] if issubclass(self.network, SimpleUNet) else []
        return {
            "network_class_name": f"{self.network.__module__}.{self.network.__name__}",
            "arch_kwargs": {
                **{name: stock[name] for name in kept},
                # nnU-Net's batches are small, for which a batch norm, as published, was clearly worse
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{len(stock['strides'][0])}d",
                "norm_op_kwargs": Norm.default("norm_op_kwargs"),
                **self.preset,
            },
            "_kw_requires_import": ["conv_op", "norm_op"],
        }

    def _explain(self, name: str, configuration: dict) -> str:
        """What was chosen for this configuration and what it costs."""
        architecture, patch = configuration["architecture"], [int(edge) for edge in configuration["patch_size"]]
        labels = LabelManager(self.dataset_json["labels"], self.dataset_json.get("regions_class_order"))
        channels = len(self.dataset_json.get("channel_names") or self.dataset_json["modality"])
        network = meta_network(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            channels,
            labels.num_segmentation_heads,
        )
        parameters, macs = cost(network, channels, patch)
        training = configuration["simple_unet"]
        return "\n".join(
            (
                f"{self.network.__name__} {name}: {parameters:,} parameters, width {self.preset['width']}, "
                f"{architecture['arch_kwargs']['n_stages']} stages, patch {'×'.join(map(str, patch))}, batch size "
                f"{configuration['batch_size']}, {macs / 1e9:.3g} GMAC per patch.",
                f"  Patch, batch, strides and kernels are what nnU-Net plans for its own network; learning rate "
                f"{training['learning_rate']:g}, deep supervision {'on' if training['deep_supervision'] else 'off'}.",
            )
        )


class SimpleUNetPlanner16(SimpleUNetPlanner):
    """Width 16: the smallest of the published ones."""

    preset = SimpleUNetSettings.plan(width=16, selection_rate=PUBLISHED_SELECTION_RATE)

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "SimpleUNet16Plans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)


class SimpleUNetPlanner48(SimpleUNetPlanner):
    """Width 48."""

    preset = SimpleUNetSettings.plan(width=48, selection_rate=SELECTION_RATE)

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "SimpleUNet48Plans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)


class SimpleUNetPlannerESK(SimpleUNetPlanner):
    """SimpleESKNet of width 32 with two blocks per stage, the published SimpleESKNet2+AFF_32."""

    network = SimpleESKNet
    preset = SkeletonSettings.plan(blocks_per_stage=2, selection_rate=PUBLISHED_SELECTION_RATE)

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "SimpleUNetESKPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
