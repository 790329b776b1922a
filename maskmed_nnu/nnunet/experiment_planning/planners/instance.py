"""What planners of networks for objects share: scale, patch and layers from the objects of the data set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from maskmed_nnu.dataset_json import read_dataset_json
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.nnunet.experiment_planning import instance_rules, patch_rules
from maskmed_nnu.nnunet.experiment_planning.instance_fingerprint import (
    AXES_KEY,
    FINGERPRINT_KEYS,
    STORED_AXES,
    add_to_fingerprint,
    instance_statistics,
)
from maskmed_nnu.nnunet.experiment_planning.instance_sizes import InstanceSizes, scaled_spacing
from maskmed_nnu.nnunet.experiment_planning.object_data_sets import check_data_set, check_reader
from maskmed_nnu.nnunet.experiment_planning.verify_dataset_integrity import explain_failure
from maskmed_nnu.nnunet.plans_handling.label_manager import LABEL_MANAGER
from maskmed_nnu.nnunet.plans_handling.meta_network import feature_map_size, meta_network
from maskmed_nnu.nnunet.plans_handling.settings.instances import InstanceSettings
from maskmed_nnu.nnunet.plans_handling.settings.origin import Origin
from maskmed_nnu.version import package_version

PREPROCESSOR = "InstancePreprocessor"
MAX_PIXEL_ASPECT = 2.0
"""Pixels longer than that along one axis are resampled to squares, for the network downsamples both axes alike."""


class InstancePlanner(ExperimentPlanner):
    """2d, for which volumes are sliced along the axis of the largest spacing, as nnU-Net slices them; and for volumes
    3d_fullres, where the planner makes it (`planned_configurations`).

    The rules are in `instance_rules`; what they need to know of the objects is measured once and kept in the data set's
    fingerprint. Memory is estimated as nnU-Net does, of the whole network with the settings that the candidate patch
    would get. A subclass says what the network is (`_architecture`), what its trainer needs beside it
    (`_training_settings`), and why (`_explain`).
    """

    preprocessor_name: str
    planned_configurations: ClassVar[tuple[str, ...]] = ("2d",)

    def __init__(
        self,
        dataset_name_or_id: str | int,
        gpu_memory_target_in_gb: float,
        preprocessor_name: str,
        plans_name: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset_name_or_id, gpu_memory_target_in_gb, preprocessor_name, plans_name, **kwargs)
        check_reader(self.dataset_name, self.dataset_json)
        self.label_format = LabelFormat.from_dataset_json(self.dataset_json)
        # nnU-Net's command line always passes a name; only a name that the user chose differs from its default
        if self.preprocessor_name == "DefaultPreprocessor":
            self.preprocessor_name = PREPROCESSOR
        self.folder = Path(nnUNet_preprocessed) / self.dataset_name
        self._networks: dict[str, torch.nn.Module] = {}

    @staticmethod
    def check_data_set(dataset_name_or_id: str | int) -> None:
        """Refuse a data set that cannot be planned before nnU-Net takes its fingerprint, which takes long.

        Label files are read until one has an object.

        Raises
        ------
        InputError
        """
        check_data_set(maybe_convert_to_dataset_name(dataset_name_or_id))

    @staticmethod
    def explain_failure(dataset_name_or_id: str | int) -> None:
        """After nnU-Net has failed: name the case whose files do not fit together, if there is one.

        Raises
        ------
        InputError
        """
        folder = Path(nnUNet_raw) / maybe_convert_to_dataset_name(dataset_name_or_id)
        explain_failure(folder, read_dataset_json(folder / "dataset.json"))

    def plan_experiment(self) -> dict:
        forward, backward = self.determine_transpose()
        configurations, refusal = self._possible_configurations()
        statistics = self._statistics(forward, [dim for dim, _ in configurations])
        if not any(one["kind"] == "thing" for one in statistics[2]["classes"].values()):
            raise instance_rules.no_instances_error(self.dataset_name, len(self.dataset), self.label_format.classes)
        shutil.copy(Path(self.raw_dataset_folder) / "dataset.json", self.folder / "dataset.json")
        median_spacing = np.median(self.dataset_fingerprint["spacings"], 0)[forward]
        median_shape = np.median(self.dataset_fingerprint["shapes_after_crop"], 0)[forward]
        plans = {
            "dataset_name": self.dataset_name,
            "plans_name": self.plans_identifier,
            "original_median_spacing_after_transp": [float(edge) for edge in median_spacing],
            "original_median_shape_after_transp": [round(edge) for edge in median_shape],
            "image_reader_writer": self.determine_reader_writer().__name__,
            "transpose_forward": [int(axis) for axis in forward],
            "transpose_backward": [int(axis) for axis in backward],
            "configurations": {
                name: self._configuration(name, statistics[dim], self._full_spacing(forward)[-dim:])
                for dim, name in configurations
            },
            "experiment_planner_used": type(self).__name__,
            "label_manager": LABEL_MANAGER,
            "foreground_intensity_properties_per_channel": self.dataset_fingerprint[
                "foreground_intensity_properties_per_channel"
            ],
            "maskmed_nnu": Origin.plan(version=package_version()),
        }
        advice = {2: refusal} if refusal else instance_rules.recommendation(statistics)
        for dim, name in configurations:
            print(self._explain(plans["configurations"][name], statistics[dim]))
            print(f"  {advice[dim]}\n" if dim in advice else "")
        self.plans = plans
        self.save_plans(plans)
        return plans

    def static_estimate_VRAM_usage(
        self,
        patch_size: Sequence[int],
        input_channels: int,
        output_channels: int,
        arch_class_name: str,
        arch_kwargs: dict,
        arch_kwargs_req_import: Sequence[str],
    ) -> float:
        """nnU-Net's measure of a candidate."""
        key = str((arch_class_name, arch_kwargs))
        if key not in self._networks:
            self._networks[key] = meta_network(
                arch_class_name, arch_kwargs, arch_kwargs_req_import, input_channels, output_channels
            )
        return feature_map_size(self._networks[key], patch_size)

    def determine_normalization_scheme_and_whether_mask_is_used_for_norm(self) -> tuple[list[str], list[bool]]:
        """nnU-Net's schemes over the whole image: zeros are a dark background in microscopy, not a missing one."""
        schemes, _ = super().determine_normalization_scheme_and_whether_mask_is_used_for_norm()
        return schemes, [False] * len(schemes)

    def determine_resampling(self, *args: Any, **kwargs: Any) -> tuple:
        """nnU-Net's, but ids come from the nearest pixel."""
        data, data_kwargs, seg, seg_kwargs = super().determine_resampling(*args, **kwargs)
        return data, data_kwargs, seg, {**seg_kwargs, "order": 0}

    def _possible_configurations(self) -> tuple[list[tuple[int, str]], str]:
        """Number of axes and name of those that the images allow, and why one is left out if that needs a word."""
        possible = [(2, "2d")]
        if "3d_fullres" not in self.planned_configurations:
            return possible, ""
        shapes = self.dataset_fingerprint["shapes_after_crop"]
        flat = sum(1 in shape for shape in shapes)
        if flat == 0:
            return [*possible, (3, "3d_fullres")], ""
        return possible, instance_rules.mixed_sentence(self.dataset_name, flat, len(shapes)) if flat < len(
            shapes
        ) else ""

    def _statistics(self, transpose: Sequence[int], dims: Sequence[int]) -> dict[int, dict]:
        """By the number of axes that are measured."""
        other_axes = self.dataset_fingerprint.get(AXES_KEY, STORED_AXES) != [int(axis) for axis in transpose]
        if other_axes or any(FINGERPRINT_KEYS[dim] not in self.dataset_fingerprint for dim in dims):
            files = [case["label"] for case in self.dataset.values()]
            statistics = instance_statistics(files, self.label_format.classes, transpose=transpose, dims=dims)
            add_to_fingerprint(self.folder / "dataset_fingerprint.json", statistics)
            # as a later run will read them
            self.dataset_fingerprint.update(json.loads(json.dumps(statistics)))
        return {dim: self.dataset_fingerprint[FINGERPRINT_KEYS[dim]] for dim in dims}

    def _full_spacing(self, transpose: Sequence[int]) -> list[float]:
        across, *spacing = (float(self.determine_fullres_target_spacing()[axis]) for axis in transpose)
        return [across, *([min(spacing)] * 2 if max(spacing) > MAX_PIXEL_ASPECT * min(spacing) else spacing)]

    def _architecture(self, patch: Sequence[int], statistics: dict, sizes: InstanceSizes) -> dict:
        """The network for this patch, as plans describe it."""
        raise NotImplementedError

    def _training_settings(self, statistics: dict, sizes: InstanceSizes) -> dict:
        """Further settings of the configuration, for the trainer."""
        raise NotImplementedError

    def _explain(self, configuration: dict, statistics: dict) -> str:
        """What was found and chosen, in words."""
        raise NotImplementedError

    def _scale(self, statistics: dict, spacing: list[float]) -> tuple[float, list[float], tuple[int, ...]]:
        """The scale that small objects need, the largest patch at it, and a coarser scale if large ones do not fit.

        The factor on the images' edges, the planned spacing, the patch.
        """
        free = self.overwrite_target_spacing is None
        sizes = InstanceSizes.from_statistics(statistics, spacing)
        scale = instance_rules.upsampling(sizes) if free else 1.0
        for may_shrink in (free, False):
            planned = scaled_spacing(spacing, scale)
            sizes = InstanceSizes.from_statistics(statistics, planned)
            patch = self._largest_patch(statistics, sizes)
            shrink = instance_rules.downsampling(sizes, patch) if may_shrink else 1.0
            if shrink == 1.0:
                break
            scale /= shrink
        return scale, planned, patch

    def _configuration(self, name: str, statistics: dict, spacing: list[float]) -> dict:
        scale, planned, patch = self._scale(statistics, spacing)
        sizes = InstanceSizes.from_statistics(statistics, planned)
        resampling, resampling_kwargs, resampling_seg, resampling_seg_kwargs = self.determine_resampling()
        probabilities, probabilities_kwargs = self.determine_segmentation_softmax_export_fn()
        schemes, masks = self.determine_normalization_scheme_and_whether_mask_is_used_for_norm()
        return {
            "data_identifier": self.generate_data_identifier(name),
            "preprocessor_name": self.preprocessor_name,
            "batch_size": self._batch_size(patch, statistics, sizes),
            "patch_size": [int(edge) for edge in patch],
            "median_image_size_in_voxels": [float(edge) for edge in sizes.image],
            "spacing": planned,
            "normalization_schemes": schemes,
            "use_mask_for_norm": masks,
            "resampling_fn_data": resampling.__name__,
            "resampling_fn_seg": resampling_seg.__name__,
            "resampling_fn_data_kwargs": resampling_kwargs,
            "resampling_fn_seg_kwargs": resampling_seg_kwargs,
            "resampling_fn_probabilities": probabilities.__name__,
            "resampling_fn_probabilities_kwargs": probabilities_kwargs,
            "architecture": self._architecture(patch, statistics, sizes),
            "batch_dice": len(spacing) == 2,  # as nnU-Net
            "instances": InstanceSettings.plan(
                **instance_rules.instance_settings(statistics, sizes),
                label_divisor=self.label_format.label_divisor,
                overlap_layers=self.label_format.overlap_layers,
                scale=scale,
            ),
            **self._training_settings(statistics, sizes),
        }

    def _memory_reference(self, dim: int) -> tuple[float, int]:
        """nnU-Net's, and the batch that it is said of."""
        reference = getattr(self, f"UNet_reference_val_{dim}d") * self.UNet_vram_target_GB
        batch: int = getattr(self, f"UNet_reference_val_corresp_bs_{dim}d")
        return reference / self.UNet_reference_val_corresp_GB, batch

    def _largest_patch(self, statistics: dict, sizes: InstanceSizes) -> tuple[int, ...]:
        """Two samples of it fit."""
        reference, batch = self._memory_reference(len(sizes.voxel))
        limit = reference * batch / 2
        visible = patch_rules.visible_size(sizes.image, sizes.large, sizes.voxel)
        return patch_rules.largest_patch(
            visible, sizes.voxel, lambda patch: self._estimate_memory(patch, statistics, sizes) <= limit
        )

    def _estimate_memory(self, patch: Sequence[int], statistics: dict, sizes: InstanceSizes) -> float:
        architecture = self._architecture(patch, statistics, sizes)
        return self.static_estimate_VRAM_usage(
            patch,
            len(self.dataset_json["channel_names"]),
            1 + len(self.label_format.classes),
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
        )

    def _batch_size(self, patch: Sequence[int], statistics: dict, sizes: InstanceSizes) -> int:
        """As nnU-Net's: what fits, but no more than 5% of the data set, and at least 2."""
        estimate = self._estimate_memory(patch, statistics, sizes)
        reference, batch = self._memory_reference(len(patch))
        fits = round(reference / estimate * batch)
        covered = round(statistics["slices"] * prod(sizes.image) * self.max_dataset_covered / prod(patch))
        return max(min(fits, covered), self.UNet_min_batch_size)
