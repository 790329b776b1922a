"""``nnUNetv2_move_plans_between_datasets``: what plans of ours say of label files follows the target."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.nnunet.evaluation.evaluate_predictions import declares_objects
from maskmed_nnu.nnunet.evaluation.plain_errors import wrap_entry_points
from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import add_mirroring
from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION


def wrap_moving(module: Any) -> None:
    """Wrap ``nnunetv2.experiment_planning.plans_for_pretraining.move_plans_between_datasets``."""
    stock = module.move_plans_between_datasets

    @functools.wraps(stock)
    def move_plans_between_datasets(
        source_dataset_name_or_id: int | str,
        target_dataset_name_or_id: int | str,
        source_plans_identifier: str,
        target_plans_identifier: str | None = None,
    ) -> None:
        source, target = (
            Path(module.nnUNet_preprocessed) / str(module.maybe_convert_to_dataset_name(name))
            for name in (source_dataset_name_or_id, target_dataset_name_or_id)
        )
        file = source / f"{source_plans_identifier}.json"
        plans = read_json(file, expected="nnU-Net's plans") if file.is_file() else {}
        of_objects = has_instances(plans)
        if of_objects:
            dataset = Path(module.nnUNet_raw) / target.name / "dataset.json"
            label_format = check_target(plans, dataset, target)
        stock(source_dataset_name_or_id, target_dataset_name_or_id, source_plans_identifier, target_plans_identifier)
        mirrored = [one for one in plans.get("configurations", {}).values() if SECTION in one]
        if not (of_objects or mirrored):
            return
        moved = target / f"{target_plans_identifier or source_plans_identifier}.json"
        content = read_json(moved, expected="nnU-Net's plans")
        for configuration in content["configurations"].values():
            if of_objects:
                configuration.get("instances", {}).update(
                    label_divisor=label_format.label_divisor, overlap_layers=label_format.overlap_layers
                )
            configuration.pop(SECTION, None)
        if mirrored:
            dataset = Path(module.nnUNet_raw) / target.name / "dataset.json"
            add_mirroring(content, target.name, read_json(dataset, expected="a dataset.json"))
        write_json(moved, content, indent=4)

    module.move_plans_between_datasets = move_plans_between_datasets
    wrap_entry_points(module)


def check_target(plans: dict[str, Any], dataset_json: Path, preprocessed: Path) -> LabelFormat:
    """The label format of the data set that plans of objects move to.

    Raises:
        InputError: where it has other classes than the plans, no objects, or no fingerprint yet.
    """
    dataset = read_json(dataset_json, expected="a dataset.json")
    if not declares_objects(dataset):
        raise InputError(
            f"The plans {plans['plans_name']} are for objects, but {dataset_json} declares none "
            '("overwrite_image_reader_writer": "InstanceIO"); move them to a data set of objects.'
        )
    label_format = LabelFormat.from_dataset_json(dataset)
    sections = [c["instances"] for c in plans["configurations"].values() if "instances" in c]
    planned = {number for section in sections for number in (*section["thing_classes"], *section["stuff_classes"])}
    declared = set(label_format.classes.values())
    if sections and planned != declared:
        raise InputError(
            f"The plans {plans['plans_name']} are for the classes {sorted(planned)}, but {dataset_json} declares "
            f"{sorted(declared)}; plan that data set separately with nnUNetv2_plan_and_preprocess."
        )
    if not preprocessed.is_dir():
        raise InputError(
            f"{preprocessed} does not exist; measure the data set first: nnUNetv2_extract_fingerprint "
            f"-d {preprocessed.name}."
        )
    return label_format
