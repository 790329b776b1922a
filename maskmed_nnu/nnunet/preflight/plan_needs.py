"""What the trainings of a plan need: memory by nnU-Net's measure, disk for images and checkpoints."""

from __future__ import annotations

from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.preflight.folders import folder_of
from maskmed_nnu.nnunet.preflight.planning import preprocessed_bytes
from maskmed_nnu.nnunet.preflight.raw_data import check_raw_data
from maskmed_nnu.nnunet.preflight.training import CHECKPOINT_BYTES, CHECKPOINTS

REFERENCES = {
    "ResEncXL": (40e9 / 560_000_000, 40e9 / 3_600_000_000),
    "ResEncL": (24e9 / 380_000_000, 24e9 / 2_100_000_000),
    "ResEnc": (8e9 / 135_000_000, 8e9 / 680_000_000),
    "": (8e9 / 85_000_000, 8e9 / 560_000_000),
}
"""Part of a planner's name → bytes for each unit of nnU-Net's measure with which its planners fill their memory, with
12 samples in 2D and with 2 in 3D."""


class PlanNeeds(NamedTuple):
    """Bytes: ``memory`` for each configuration; None where the data set's own files do not tell."""

    memory: dict[str, float]
    preprocessed: int | None
    checkpoints: int | None


def plan_needs(plans: dict[str, Any]) -> PlanNeeds:
    """What the configurations of ``plans`` need.

    Raises:
        InputError: where they cannot be built.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from maskmed_nnu.nnunet.plans_handling.meta_network import feature_map_size, meta_network

    description, preprocessed = _data_set(str(plans.get("dataset_name")))
    if description is None:
        return PlanNeeds({}, None, None)
    channels = len(description.get("channel_names") or description.get("modality") or "1")
    heads = PlansManager(plans).get_label_manager(description).num_segmentation_heads
    planner = str(plans.get("experiment_planner_used"))
    flat_bytes, volume_bytes = next(of_unit for part, of_unit in REFERENCES.items() if part in planner)
    memory, weights = {}, 0
    for name in plans["configurations"]:
        one = resolve_configuration(plans, name)
        try:
            architecture, patch = one["architecture"], one["patch_size"]
            network = meta_network(
                architecture["network_class_name"],
                architecture["arch_kwargs"],
                architecture["_kw_requires_import"],
                channels,
                heads,
            )
            unit = flat_bytes / 12 if len(patch) == 2 else volume_bytes / 2
            memory[name] = feature_map_size(network, patch) * one["batch_size"] * unit
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"The plan's configuration {name} cannot be built ({error}); plan again.") from None
        weights = max(weights, sum(parameter.numel() for parameter in network.parameters()))
    return PlanNeeds(memory, preprocessed, weights * CHECKPOINT_BYTES * CHECKPOINTS)


def _data_set(name: str) -> tuple[dict[str, Any] | None, int | None]:
    """Its ``dataset.json``, and what its images take preprocessed where the raw ones are there."""
    raw, preprocessed = folder_of("nnUNet_raw"), folder_of("nnUNet_preprocessed")
    if raw is not None and (raw / name / "dataset.json").is_file():
        data = check_raw_data(raw / name, verify=False)
        return data.description, preprocessed_bytes(data)
    if preprocessed is not None and (preprocessed / name / "dataset.json").is_file():
        content: Any = read_json(preprocessed / name / "dataset.json", expected="a dataset.json")
        return content, None
    return None, None
