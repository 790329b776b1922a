"""Planner of networks with nnU-Net's loss: nnU-Net's plan for its own network, with another network in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids
from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import add_mirroring
from maskmed_nnu.nnunet.plans_handling.label_export import plan_label_export
from maskmed_nnu.nnunet.plans_handling.meta_network import cost, feature_map_size, meta_network
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.plans_handling.settings.pixelwise import SECTION, PixelwiseTraining
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import PREPROCESSOR, choose_preprocessor
from maskmed_nnu.version import package_version

CONFIGURATIONS = ("2d", "3d_fullres")


class PixelwisePlanner(ExperimentPlanner):
    """Patch, batch, strides and kernels are those that nnU-Net plans for its own network, so that the two are trained
    on the same patches. Configurations other than 2d and 3d_fullres are left out.

    A subclass names its ``network``, a class of ``torch.nn`` modules, which of nnU-Net's arguments it takes
    (``nnunet_arguments``), and further ones in ``preset``. The plans are called after the planner, unless
    ``default_plans`` says otherwise. The configurations' ``section`` holds what the trainer needs.
    """

    preprocessor_name: str
    network: ClassVar[type[torch.nn.Module]]
    nnunet_arguments: ClassVar[tuple[str, ...]] = (
        *("n_stages", "conv_op", "strides", "kernel_sizes"),
        *("norm_op", "norm_op_kwargs"),
    )
    preset: ClassVar[dict[str, Any]] = {}
    default_plans: ClassVar[str] = ""
    planned_configurations: ClassVar[tuple[str, ...]] = CONFIGURATIONS
    section: ClassVar[str] = SECTION
    learning_rate: ClassVar[float] = 1e-3

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        plans_name = plans_name or self.default_plans_name()
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
        self.preprocessor_name = choose_preprocessor(self.preprocessor_name)
        labels = LabelManager(self.dataset_json["labels"], self.dataset_json.get("regions_class_order"))
        self._heads = labels.num_segmentation_heads

    check_data_set = staticmethod(check_grids)  # before nnU-Net takes its fingerprint

    @classmethod
    def default_plans_name(cls) -> str:
        """The name after ``-p``, unless the user names the plans."""
        return cls.default_plans or cls.__name__.replace("Planner", "Plans")

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
                f"The images of {self.dataset_name} are too small for {self.network.__name__}: nnU-Net plans a patch "
                f"of {patch}, which it does not downsample along any axis. Use images of at least 8 voxels along one "
                "axis."
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
        plan["architecture"] = self._architecture(plan["architecture"])
        plan[self.section] = PixelwiseTraining.plan(learning_rate=self.learning_rate)
        return plan

    def save_plans(self, plans: dict) -> None:
        plans["maskmed_nnu"] = Origin.plan(version=package_version())
        for name in [name for name in plans["configurations"] if name not in CONFIGURATIONS]:
            del plans["configurations"][name]
        for name, configuration in plans["configurations"].items():
            print(self._explain(name, configuration), end="\n\n")
        plan_label_export(plans, self._heads)
        add_mirroring(plans, self.dataset_name, self.dataset_json)
        super().save_plans(plans)

    def _architecture(self, stock: dict) -> dict:
        """``stock`` is the architecture of nnU-Net's network."""
        return {
            "network_class_name": f"{self.network.__module__}.{self.network.__name__}",
            "arch_kwargs": {**{name: stock["arch_kwargs"][name] for name in self.nnunet_arguments}, **self.preset},
            "_kw_requires_import": [name for name in stock["_kw_requires_import"] if name in self.nnunet_arguments],
        }

    def _explain(self, name: str, configuration: dict) -> str:
        """What was chosen for this configuration and what it costs."""
        architecture, patch = configuration["architecture"], [int(edge) for edge in configuration["patch_size"]]
        channels = len(self.dataset_json.get("channel_names") or self.dataset_json["modality"])
        network = meta_network(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            channels,
            self._heads,
        )
        parameters, macs = cost(network, channels, patch)
        training = configuration[self.section]
        width = f"width {self.preset['width']}, " if "width" in self.preset else ""
        return "\n".join(
            (
                f"{self.network.__name__} {name}: {parameters:,} parameters, {width}"
                f"{architecture['arch_kwargs']['n_stages']} stages, patch {'×'.join(map(str, patch))}, batch size "
                f"{configuration['batch_size']}, {macs / 1e9:.3g} GMAC per patch.",
                f"  Patch, batch, strides and kernels are what nnU-Net plans for its own network; learning rate "
                f"{training['learning_rate']:g}, deep supervision {'on' if training['deep_supervision'] else 'off'}.",
            )
        )
