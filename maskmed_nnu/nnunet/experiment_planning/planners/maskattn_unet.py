"""Planners of MaskAttn-UNet: nnU-Net's plan of images for labels, a plan from the objects where labels are objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.experiment_planning import maskattn_rules
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids
from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import add_mirroring
from maskmed_nnu.nnunet.experiment_planning.object_data_sets import READER
from maskmed_nnu.nnunet.experiment_planning.planners.instance import InstancePlanner
from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_instance import MaskAttnInstancePlanner
from maskmed_nnu.nnunet.plans_handling.label_export import plan_label_export
from maskmed_nnu.nnunet.plans_handling.meta_network import cost, feature_map_size, meta_network
from maskmed_nnu.nnunet.plans_handling.settings.maskattn_unet import LabelTraining
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import PREPROCESSOR, choose_preprocessor
from maskmed_nnu.version import package_version


class MaskAttnUNetPlanner(ExperimentPlanner):
    """One configuration, 2d, of semantic data sets and of data sets of objects (`MaskAttnInstancePlanner`).

    Labels: patch, batch and strides are nnU-Net's, with memory estimated of this network; of the stages the first four
    are kept. `maskattn_rules` says how the network follows.
    """

    preprocessor_name: str
    planned_configurations: ClassVar[tuple[str, ...]] = ("2d",)
    longest_side: int | None = None
    """Edge of the median image after resampling; None leaves images as they are."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "MaskAttnUNetPlans",
        **kwargs: Any,
    ) -> None:
        given = (dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name)
        super().__init__(*given, **kwargs)
        if self.longest_side is not None and self.overwrite_target_spacing is not None:
            raise InputError(
                f"{type(self).__name__} resizes images to {self.longest_side} pixels, so a target spacing cannot "
                "be given; take MaskAttnUNetPlanner for that."
            )
        self._instance_planner: MaskAttnInstancePlanner | None = None
        if declares_instances(self.dataset_json):
            # what the command line passes where the user chose nothing is the default of another kind of data
            given = (*given[:2], "DefaultPreprocessor" if given[2] == PREPROCESSOR else given[2], given[3])
            self._instance_planner = MaskAttnInstancePlanner(
                *given, planner=type(self).__name__, longest_side=self.longest_side, **kwargs
            )
        else:
            self.preprocessor_name = choose_preprocessor(self.preprocessor_name)
            labels = LabelManager(self.dataset_json["labels"], self.dataset_json.get("regions_class_order"))
            self._heads = labels.num_segmentation_heads

    @staticmethod
    def check_data_set(dataset_name_or_id: str | int) -> None:
        """As `InstancePlanner.check_data_set`, for data sets of objects; of labels, the grids alone."""
        if _declares_objects(dataset_name_or_id):
            InstancePlanner.check_data_set(dataset_name_or_id)
        else:
            check_grids(dataset_name_or_id)

    @staticmethod
    def explain_failure(dataset_name_or_id: str | int) -> None:
        """As `InstancePlanner.explain_failure`, for data sets of objects."""
        if _declares_objects(dataset_name_or_id):
            InstancePlanner.explain_failure(dataset_name_or_id)

    def plan_experiment(self) -> dict:
        if self._instance_planner is None:
            return super().plan_experiment()
        self.plans = self._instance_planner.plan_experiment()
        return self.plans

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: Sequence[str],
    ) -> float:
        """nnU-Net's measure, of our network with the strides of nnU-Net's."""
        if arch_kwargs["n_stages"] < 2:
            raise InputError(
                f"The images of {self.dataset_name} are too small for MaskAttnUNet: nnU-Net plans a patch of "
                f"{'×'.join(str(int(edge)) for edge in patch_size)}, which it does not downsample along any axis. Use "
                "images of at least 8 pixels along one axis."
            )
        ours = maskattn_rules.architecture(patch_size, arch_kwargs["strides"])
        network = meta_network(
            ours["network_class_name"],
            ours["arch_kwargs"],
            ours["_kw_requires_import"],
            input_channels,
            output_channels,
        )
        return feature_map_size(network, patch_size)

    def get_plans_for_configuration(
        self,
        spacing: np.ndarray | Sequence[float],
        median_shape: np.ndarray | Sequence[int],
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict,
    ) -> dict:
        if len(spacing) == 3:  # left out of the plans; one patch shows it all, so that nnU-Net looks for no coarser one
            return {"patch_size": median_shape, "spacing": spacing}
        seen = median_shape
        if self.longest_side is not None:
            factor = max(median_shape) / self.longest_side
            spacing, median_shape = np.asarray(spacing) * factor, np.asarray(median_shape) / factor
            approximate_n_voxels_dataset /= factor**2
            seen = [self.longest_side] * 2
        plan = super().get_plans_for_configuration(spacing, seen, data_identifier, approximate_n_voxels_dataset, _cache)
        plan["median_image_size_in_voxels"] = median_shape
        stock = plan["architecture"]["arch_kwargs"]
        plan["architecture"] = maskattn_rules.architecture(plan["patch_size"], stock["strides"])
        plan["maskattn_unet"] = LabelTraining.plan()
        return plan

    def save_plans(self, plans: dict) -> None:
        plans["maskmed_nnu"] = Origin.plan(version=package_version())
        plans["configurations"] = {"2d": plans["configurations"]["2d"]}
        print(self._explain(plans["configurations"]["2d"]), end="\n\n")
        plan_label_export(plans, self._heads)
        add_mirroring(plans, self.dataset_name, self.dataset_json)
        super().save_plans(plans)

    def _explain(self, configuration: dict) -> str:
        architecture = configuration["architecture"]
        channels = len(self.dataset_json.get("channel_names") or self.dataset_json["modality"])
        network = meta_network(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            channels,
            self._heads,
        )
        parameters, macs = cost(network, channels, [int(edge) for edge in configuration["patch_size"]])
        return maskattn_rules.explain(configuration, parameters=parameters, macs=macs)


class MaskAttnUNetPlannerLowRes(MaskAttnUNetPlanner):
    """The published regime: the median image is resized to 128 pixels on its longest side, the patch is 128×128.

    Predictions come back on the grid of the image, as ever in nnU-Net.
    """

    longest_side = maskattn_rules.LOW_RESOLUTION

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float = 8,
        preprocessor_name: str = PREPROCESSOR,
        plans_name: str = "MaskAttnUNetLowResPlans",
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)


def declares_instances(dataset_json: dict) -> bool:
    """Whether the label files of the data set are of objects."""
    return dataset_json.get("overwrite_image_reader_writer") == READER


def _declares_objects(dataset_name_or_id: str | int) -> bool:
    """From the raw data set; nnU-Net says so itself where there is none."""
    file = Path(nnUNet_raw) / maybe_convert_to_dataset_name(dataset_name_or_id) / "dataset.json"
    return file.is_file() and declares_instances(read_json(file, expected="nnU-Net's dataset.json"))
