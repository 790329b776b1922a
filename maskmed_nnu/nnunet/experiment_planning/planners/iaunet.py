"""Planner of IAUNet: nnU-Net's encoder, with patch, scale, queries and layers from the data set's objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.nnunet.experiment_planning import iaunet_report, instance_rules, patch_rules
from maskmed_nnu.nnunet.experiment_planning.instance_sizes import InstanceSizes
from maskmed_nnu.nnunet.experiment_planning.planners.instance import PREPROCESSOR, InstancePlanner
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm

BASE_FEATURES, MAX_FEATURES = 16, 128
"""Widths at full resolution and at most, less than nnU-Net's: on nuclei, many steps of a narrow network found more
objects than fewer steps of a wide one in the same time. The same in 3D, where a step costs more."""


class IAUNetPlanner(InstancePlanner):
    """IAUNet, with queries, windows and decoder blocks chosen by the objects."""

    planned_configurations: ClassVar[tuple[str, ...]] = ("2d", "3d_fullres")

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "IAUNetPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
        self.UNet_base_num_features = BASE_FEATURES
        self.UNet_max_features_2d = self.UNet_max_features_3d = MAX_FEATURES
        self.UNet_class = IAUNet

    def _architecture(self, patch: Sequence[int], statistics: dict, sizes: InstanceSizes) -> dict:
        """nnU-Net's plain encoder with the scales of `patch_rules`, and our settings."""
        encoder, dim = patch_rules.topology(patch, sizes.voxel), len(patch)
        stages, widest = len(encoder.strides), getattr(self, f"UNet_max_features_{dim}d")
        features = [min(widest, self.UNet_base_num_features * 2**stage) for stage in range(stages)]
        return {
            "network_class_name": f"{self.UNet_class.__module__}.{self.UNet_class.__name__}",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": features,
                "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
                "kernel_sizes": [list(kernel) for kernel in encoder.kernels],
                "strides": [list(stride) for stride in encoder.strides],
                "n_conv_per_stage": list(self.UNet_blocks_per_stage_encoder[:stages]),
                "n_conv_per_stage_decoder": list(self.UNet_blocks_per_stage_decoder[: stages - 1]),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
                "norm_op_kwargs": Norm.default("norm_op_kwargs"),
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
                **instance_rules.network_settings(statistics, sizes, patch, encoder),
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    def _training_settings(self, statistics: dict, sizes: InstanceSizes) -> dict:
        return {"instance_loss": instance_rules.loss_settings()}

    def _explain(self, configuration: dict, statistics: dict) -> str:
        return iaunet_report.explain(configuration, statistics)
