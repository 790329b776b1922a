"""Planner of IAUNet: nnU-Net's encoder for 2D, with patch, scale, queries and layers from the data set's objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.nnunet.experiment_planning import iaunet_report, instance_rules
from maskmed_nnu.nnunet.experiment_planning.instance_rules import InstanceSizes
from maskmed_nnu.nnunet.experiment_planning.planners.instance import PREPROCESSOR, InstancePlanner
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm

BASE_FEATURES, MAX_FEATURES = 16, 128
"""Widths at full resolution and at most, less than nnU-Net's: on nuclei, many steps of a narrow network found more
objects than fewer steps of a wide one in the same time."""


class IAUNetPlanner(InstancePlanner):
    """IAUNet, with queries, windows and decoder blocks chosen by the objects."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "IAUNetPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
        self.UNet_base_num_features, self.UNet_max_features_2d = BASE_FEATURES, MAX_FEATURES
        self.UNet_class = IAUNet

    def _architecture(self, patch: Sequence[int], statistics: dict, sizes: InstanceSizes) -> dict:
        """nnU-Net's plain encoder for 2D, with the same stride along both axes, and our settings."""
        stages = instance_rules.num_stages(patch)
        features = [min(self.UNet_max_features_2d, self.UNet_base_num_features * 2**stage) for stage in range(stages)]
        return {
            "network_class_name": f"{self.UNet_class.__module__}.{self.UNet_class.__name__}",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": features,
                "conv_op": "torch.nn.modules.conv.Conv2d",
                "kernel_sizes": [[3, 3]] * stages,
                "strides": [[1, 1]] + [[2, 2]] * (stages - 1),
                "n_conv_per_stage": list(self.UNet_blocks_per_stage_encoder[:stages]),
                "n_conv_per_stage_decoder": list(self.UNet_blocks_per_stage_decoder[: stages - 1]),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
                "norm_op_kwargs": Norm.default("norm_op_kwargs"),
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
                **instance_rules.network_settings(statistics, sizes, patch, stages),
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    def _training_settings(self, statistics: dict, sizes: InstanceSizes) -> dict:
        return {"instance_loss": instance_rules.loss_settings()}

    def _explain(self, configuration: dict, statistics: dict) -> str:
        return iaunet_report.explain(configuration, statistics)
