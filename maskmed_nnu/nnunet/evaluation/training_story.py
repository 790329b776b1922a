"""What a model was planned to be and why, from its plans and fingerprint, and the commands that make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count, format_list
from maskmed_nnu.json_file import read_optional_object
from maskmed_nnu.nnunet.evaluation.training_curves import NOTES
from maskmed_nnu.nnunet.experiment_planning import iaunet_report, maskattn_rules, maskmed_rules
from maskmed_nnu.nnunet.experiment_planning.instance_fingerprint import FINGERPRINT_KEYS
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION as MIRRORING
from maskmed_nnu.nnunet.plans_handling.settings.networks import NETWORKS
from maskmed_nnu.nnunet.plans_handling.settings.schema import Settings, detail, nested_settings

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class SettingRow:
    """A setting of ours: value, meaning, and how the planner chose it."""

    name: str
    value: str
    meaning: str
    chosen_by: str


@dataclass(frozen=True)
class Names:
    """What nnU-Net's commands call a training; "…" where its folder does not tell."""

    dataset: str
    trainer: str
    plans: str
    configuration: str


def names_of(folder: Path, plans: Mapping[str, Any]) -> Names:
    """From the folder's name and the plans.

    Raises:
        InputError: where nothing tells the configuration.
    """
    parts = folder.name.split("__")
    dataset, name = str(plans.get("dataset_name") or folder.parent.name), str(plans.get("plans_name") or "…")
    known = plans["configurations"]
    if len(parts) == 3 and parts[2] in known:
        return Names(dataset, parts[0], parts[1], parts[2])
    told = {_noted(fold).get("configuration_name") for fold in sorted(folder.glob("fold_*"))}
    configurations = [one for one in known if one in told] or (list(known) if len(known) == 1 else [])
    if not configurations:
        raise InputError(
            f"{folder} does not name a configuration of its plans ({format_list(known)}); rename it "
            "TRAINER__PLANS__CONFIGURATION, as nnU-Net does."
        )
    return Names(dataset, "…", name, configurations[0])


def planned_rows(plans: dict[str, Any], names: Names) -> Rows:
    """The numbers of the configuration, in words."""
    one = resolve_configuration(plans, names.configuration)
    architecture = one.get("architecture") or {}
    arguments = architecture.get("arch_kwargs") or {}
    rows = {
        "Data set": names.dataset,
        "Configuration": names.configuration,
        "Network": str(architecture.get("network_class_name", "–")).rpartition(".")[2],
        "Planner": str(plans.get("experiment_planner_used", "–")),
        "Trainer": names.trainer,
        "Patch [voxels]": _times(one.get("patch_size")),
        "Batch size": str(one.get("batch_size", "–")),
        "Spacing [mm]": _times(one.get("spacing")),
        "Median image [voxels]": _times(one.get("median_image_size_in_voxels")),
        "Normalization": format_list(one.get("normalization_schemes") or ["–"]),
        "Stages": str(arguments.get("n_stages", "–")),
        "Features": ", ".join(map(str, arguments.get("features_per_stage") or ["–"])),
    }
    if arguments.get("num_queries"):
        rows["Queries"] = str(arguments["num_queries"])
    return [(name, value) for name, value in rows.items() if value != "–"]


def planner_words(plans: dict[str, Any], names: Names, fingerprint: Mapping[str, Any], classes: int) -> list[str]:
    """What our planner said of the configuration, told again from the plans; nothing of other planners.

    Plans that were edited, or those of another release, are told as far as they can be.
    """
    one = resolve_configuration(plans, names.configuration)
    network = str((one.get("architecture") or {}).get("network_class_name", "")).rpartition(".")[2]
    words = []
    try:
        if network == "MaskMed":
            words.append(maskmed_rules.explain(names.configuration, one, num_classes=classes))
        elif network == "IAUNet" and (measured := fingerprint.get(FINGERPRINT_KEYS[len(one["patch_size"])])):
            words.append(iaunet_report.explain(one, measured))
        elif network == "MaskAttnUNet":
            words.append(maskattn_rules.explain_keys(one).strip())
            if "instances" in one and FINGERPRINT_KEYS[2] in fingerprint:
                words[-1] += "\n" + maskattn_rules.explain_objects(one, fingerprint[FINGERPRINT_KEYS[2]]).strip()
        elif network in ("SimpleUNet", "SimpleESKNet"):
            words.append("Patch, batch, strides and kernels are what nnU-Net plans for its own network.")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        words.append("The plans were edited or come from another version, so the planner's reasons cannot be given.")
    reasons = (one.get(MIRRORING) or {}).get("reasons") or {}
    if isinstance(reasons, dict) and reasons:
        words.append("Mirroring:\n" + "\n".join(f"  {axis}: {reason}" for axis, reason in reasons.items()))
    return words


def setting_rows(plans: dict[str, Any], names: Names) -> list[SettingRow]:
    """Every setting of ours in the plans, as the documentation describes it; none for other networks."""
    one = resolve_configuration(plans, names.configuration)
    architecture = one.get("architecture") or {}
    network = next((n for n in NETWORKS if architecture.get("network_class_name") in n.classes), None)
    if network is None:
        return []
    parents = {"maskmed_nnu": plans, "arch_kwargs": architecture}
    rows: list[SettingRow] = []
    for section, model in network.sections(one).items():
        values = parents.get(section, one).get(section)
        if isinstance(values, dict) and section != "maskmed_nnu":
            rows += _settings(values, model, "")
    return rows


def fingerprint_rows(fingerprint: Mapping[str, Any], dataset_json: Mapping[str, Any]) -> Rows:
    """What was measured in the training images; lengths along z, y, x."""
    rows = [("Training cases", str(dataset_json.get("numTraining", "–")))]
    flat = all(shape[:1] == [1] for shape in fingerprint.get("shapes_after_crop") or ())  # pictures
    for name, key in (("Image size [voxels]", "shapes_after_crop"), ("Spacing [mm]", "spacings")):
        values = fingerprint.get(key)
        if isinstance(values, list) and values:
            by_axis = [sorted(axis) for axis in zip(*values, strict=False)][flat:]
            middle = _times([axis[len(axis) // 2] for axis in by_axis])
            low, high = _times([axis[0] for axis in by_axis]), _times([axis[-1] for axis in by_axis])
            rows.append((name, middle if low == high else f"{middle} in the median, {low} to {high}"))
    channels = list((dataset_json.get("channel_names") or dataset_json.get("modality") or {}).values())
    for index, of_channel in enumerate((fingerprint.get("foreground_intensity_properties_per_channel") or {}).values()):
        channel = channels[index] if index < len(channels) else index
        rows.append(
            (
                f"Foreground of channel {channel}",
                f"mean {of_channel['mean']:.4g}, deviation {of_channel['std']:.4g}, "
                f"{of_channel['percentile_00_5']:.4g} to {of_channel['percentile_99_5']:.4g} (0.5th to 99.5th "
                "percentile)",
            )
        )
    for name, of_class in (
        (fingerprint.get(FINGERPRINT_KEYS[3]) or fingerprint.get(FINGERPRINT_KEYS[2]) or {}).get("classes", {}).items()
    ):
        if of_class.get("kind") == "thing":
            per_image = of_class["objects_per_slice"]
            rows.append(
                (
                    f"Objects of {name}",
                    f"{count(of_class['objects'], 'object')}, {per_image['50']:g} in the median image, longer edges of "
                    f"{of_class['extent']['longer']['5']:.3g} to {of_class['extent']['longer']['95']:.3g} "
                    "(5th to 95th percentile)",
                )
            )
    return rows


def commands(folder: Path, plans: Mapping[str, Any], names: Names, folds: Sequence[str]) -> list[str]:
    """What makes the model again, and predicts with it; nnU-Net's three folders are in the environment."""
    planner = str(plans.get("experiment_planner_used") or "…")
    own_name = names.plans not in (planner.replace("Planner", "Plans"), "nnUNetPlans")
    planning = ["nnUNetv2_plan_and_preprocess", "-d", names.dataset, "-pl", planner, "-c", names.configuration]
    planning += ["-overwrite_plans_name", names.plans] if own_name else []
    training = [names.dataset, names.configuration], ["-tr", names.trainer, "-p", names.plans]
    return [
        _joined([*planning, "--verify_dataset_integrity"]),
        *(_joined(["nnUNetv2_train", *training[0], fold, *training[1]]) for fold in folds),
        f"maskmed predict --model {shlex.quote(folder.name)} -i IMAGES -o FOUND",
        f"maskmed report {shlex.quote(folder.name)}",
    ]


def trained_with(folder: Path) -> Rows:
    """Releases and device of the trainings, as nnU-Net has noted them; nothing of who trained where."""
    rows: dict[str, list[str]] = {}
    for fold in sorted(folder.glob("fold_*")):
        noted = _noted(fold)
        for name, key in (("torch", "torch_version"), ("GPU", "gpu_name"), ("cuDNN", "cudnn_version")):
            value = str(noted.get(key, "None"))
            if value not in ("None", "", *rows.get(name, ())):
                rows.setdefault(name, []).append(value)
    return [(f"{name} (training)", ", ".join(values)) for name, values in rows.items()]


def _noted(fold: Path) -> dict[str, Any]:
    return read_optional_object(fold / NOTES)


def _settings(values: Mapping[str, Any], model: type[Settings], prefix: str) -> Iterator[SettingRow]:
    for name, field in model.model_fields.items():
        nested = nested_settings(field)
        if name not in values:
            continue
        if nested is not None and isinstance(values[name], dict):
            yield from _settings(values[name], nested, f"{prefix}{name}.")
        elif field.description and field.json_schema_extra:
            chosen_by = str(detail(field, "chosen_by") or "a constant").replace("`", "")
            value = json.dumps(values[name], ensure_ascii=False)
            yield SettingRow(f"{prefix}{name}", value, field.description.replace("`", ""), chosen_by)


def _joined(words: Sequence[str]) -> str:
    return " ".join(word if word == "…" else shlex.quote(word) for word in words)


def _times(edges: Any) -> str:
    return " × ".join(f"{float(edge):.4g}" for edge in edges) if isinstance(edges, list) and edges else "–"
