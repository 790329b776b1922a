"""Checks of plans against the data set, before anything heavy happens."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from pydoc import locate
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.meta_network import meta_network

MASKMED = ("maskmed_nnu.networks.maskmed.MaskMed",)
IAUNET = ("maskmed_nnu.networks.iaunet.IAUNet",)
MASKATTN_UNET = ("maskmed_nnu.networks.maskattn_unet.MaskAttnUNet",)
SIMPLE_UNET = ("maskmed_nnu.networks.simple_unet.SimpleUNet", "maskmed_nnu.networks.simple_unet.SimpleESKNet")


def resolve_configuration(plans: dict, name: str) -> dict[str, Any]:
    """The configuration with what it inherits.

    Raises
    ------
    InputError
        Where the plans do not have it, or are no plans.
    """
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict):
        raise InputError(
            f"The plans hold no configurations (they have {', '.join(plans) or 'nothing'}): this is no plans file of "
            "nnU-Net v2. Make one with nnUNetv2_plan_and_preprocess."
        )
    if name not in configurations:
        raise InputError(
            f"The plans {plans.get('plans_name')} have no configuration {name!r}. They have: "
            f"{', '.join(configurations)}."
        )
    configuration = configurations[name]
    parent = configuration.get("inherits_from")
    return {**resolve_configuration(plans, parent), **configuration} if parent is not None else configuration


def check_plans(plans: dict, configuration: dict, *, num_heads: int) -> None:
    """Refuse plans that were not made for MaskMed, for as many classes, and for a patch that its levels divide.

    ``num_heads`` counts the data set's segmentation heads: labels with background and without ignore, or regions.

    Raises
    ------
    InputError
    """
    name = plans.get("plans_name")
    remedy = _remedy(plans, "MaskMedPlanner")
    if "architecture" not in configuration:
        raise InputError(
            f"The plans {name} describe no network architecture, as plans of nnU-Net before 2.4 did; this release "
            f"works with nnU-Net 2.8. {remedy}."
        )
    made_for = plans.get("maskmed_nnu", {}).get("num_classes")
    missing = ["maskmed_nnu.num_classes"] if made_for is None else []
    missing += _missing(configuration, "set_loss")
    _check_origin(plans, configuration, MASKMED, missing=missing, remedy=remedy)
    if num_heads > made_for:
        raise InputError(
            f"The data set has {num_heads} classes (its labels with background, or its regions), more than the "
            f"{made_for} that the plans {name} were made for. {remedy}."
        )
    _check_patch(name, configuration["patch_size"], configuration["architecture"]["arch_kwargs"]["strides"])


def check_regions(plans: dict, configuration: dict, *, has_regions: bool) -> None:
    """Refuse plans for regions where the data set has labels, and the other way round.

    Raises
    ------
    InputError
    """
    planned = configuration["architecture"]["arch_kwargs"].get("regions", False)
    if planned != has_regions:
        kinds = {True: "regions", False: "plain labels"}
        raise InputError(
            f"The plans {plans.get('plans_name')} were made for {kinds[planned]}, but dataset.json declares "
            f"{kinds[has_regions]}. Plan again after changing dataset.json."
        )


def check_instance_plans(plans: dict, configuration: dict, *, labels: Any) -> None:
    """Refuse plans that were not made for a data set of objects with the labels of ``labels`` (a `LabelManager`).

    Raises
    ------
    InputError
    """
    remedy = _remedy(plans, "IAUNetPlanner")
    missing = _missing(configuration, "instances", "instance_loss")
    _check_origin(plans, configuration, IAUNET, missing=missing, remedy=remedy)
    check_instance_labels(plans, configuration, labels=labels, planner="IAUNetPlanner")


def check_instance_labels(plans: dict, configuration: dict, *, labels: Any, planner: str) -> None:
    """Refuse labels that objects do not have, and others than those that plans of ``planner`` were made for.

    Raises
    ------
    InputError
    """
    if labels.has_regions or labels.has_ignore_label:
        kind = "regions" if labels.has_regions else "an ignore label"
        raise InputError(
            f"dataset.json declares {kind}, which objects do not have: declare plain labels, and mark what is "
            "not to be judged as a crowd (index 0 of a thing's class, with a label_divisor)."
        )
    planned = {*configuration["instances"]["thing_classes"], *configuration["instances"]["stuff_classes"]}
    if planned != set(labels.foreground_labels):
        raise InputError(
            f"dataset.json declares the labels {sorted(map(int, labels.foreground_labels))}, but the plans "
            f"{plans.get('plans_name')} were made for {sorted(planned)}. {_remedy(plans, planner)}."
        )


def check_simple_unet_plans(plans: dict, configuration: dict) -> None:
    """Refuse plans that were not made for SimpleUNet, and settings that it cannot have.

    Raises
    ------
    InputError
    """
    remedy = _remedy(plans, "SimpleUNetPlanner")
    _check_origin(plans, configuration, SIMPLE_UNET, missing=_missing(configuration, "simple_unet"), remedy=remedy)
    _check_section(plans, configuration, "simple_unet", deep_supervision=True)
    _check_network(plans, configuration)


def check_maskattn_plans(plans: dict, configuration: dict, *, objects: bool) -> None:
    """Refuse plans that were not made for MaskAttnUNet, and plans for labels where ``objects`` are to be learned.

    And settings that it cannot have.

    Raises
    ------
    InputError
        The other way round, too.
    """
    name, remedy = plans.get("plans_name"), _remedy(plans, "MaskAttnUNetPlanner")
    _check_origin(plans, configuration, MASKATTN_UNET, missing=_missing(configuration, "maskattn_unet"), remedy=remedy)
    for_objects = "instances" in configuration
    if for_objects and not objects:
        raise InputError(
            f"The plans {name} are for the objects of {plans.get('dataset_name')}, which nnUNetTrainerMaskAttnUNet "
            "does not tell apart: train with nnUNetTrainerMaskAttnUNetInstance or nnUNetTrainerMaskAttnUNetPanoptic."
        )
    if objects and not for_objects:
        raise InputError(
            f"The plans {name} are for labels: {plans.get('dataset_name')} is a semantic data set, which has no "
            "objects to learn. Train with nnUNetTrainerMaskAttnUNet, or make a data set of objects with `maskmed "
            "convert`."
        )
    if objects:
        _check_origin(
            plans, configuration, MASKATTN_UNET, missing=_missing(configuration, "instance_loss"), remedy=remedy
        )
    kwargs = configuration["architecture"]["arch_kwargs"]
    embeds, things = bool(kwargs.get("embedding_dim", 0)), bool(kwargs.get("thing_channels", ()))
    if not embeds == things == objects:
        kind = "objects come from an embedding" if objects else "labels need none"
        raise InputError(
            f"The plans {name} have the embedding_dim {kwargs.get('embedding_dim', 0)} and the thing_channels "
            f"{list(kwargs.get('thing_channels', ()))}, but {kind}; legal is "
            f"{'both' if objects else 'neither'}, as MaskAttnUNetPlanner plans."
        )
    _check_section(plans, configuration, "maskattn_unet", deep_supervision=not objects)
    _check_network(plans, configuration)


def _check_section(plans: dict, configuration: dict, section: str, *, deep_supervision: bool) -> None:
    """Refuse a learning rate that is none, and deep supervision where the patch or the stages do not allow it."""
    name, settings = plans.get("plans_name"), configuration[section]
    rate = settings.get("learning_rate")
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < inf:
        raise InputError(
            f"The plans {name} have the learning_rate {rate!r} under {section}; legal is a number above 0."
        )
    if not deep_supervision:
        return
    asked = settings.get("deep_supervision")
    if not isinstance(asked, bool):
        raise InputError(
            f"The plans {name} have the deep_supervision {asked!r} under {section}; legal are true and false."
        )
    if not asked:
        return
    strides = configuration["architecture"]["arch_kwargs"]["strides"]
    # nnU-Net gives the coarsest scale no weight, and two stages have one scale
    if len(strides) < 3:
        raise InputError(
            f"The plans {name} ask for deep supervision of a network of {len(strides)} stages; it needs 3. Set "
            f"deep_supervision under {section} to false."
        )
    # nnU-Net rounds the sizes of its smaller targets, and pooling rounds down
    _check_patch(name, configuration["patch_size"], strides)


def _check_network(plans: dict, configuration: dict) -> None:
    """Refuse an architecture that cannot be built, or does not take the patch; on a device without memory."""
    name, architecture = plans.get("plans_name"), configuration["architecture"]
    kwargs, imported = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    for key in imported:
        if isinstance(kwargs.get(key), str) and locate(kwargs[key]) is None:
            raise InputError(f"The plans {name} have the {key} {kwargs[key]!r} in arch_kwargs, which does not exist.")
    try:
        network = meta_network(architecture["network_class_name"], kwargs, imported, 1, 2)
        network.compute_conv_feature_map_size(tuple(configuration["patch_size"]))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The plans {name} describe no {architecture['network_class_name'].rpartition('.')[2]} that works with the "
            f"patch {list(configuration['patch_size'])} ({error}): correct the arch_kwargs that were changed."
        ) from error


def _remedy(plans: dict, planner: str) -> str:
    return f"Plan again with nnUNetv2_plan_experiment -d {plans.get('dataset_name', 'ID')} -pl {planner}"


def _missing(configuration: dict, *sections: str) -> list[str]:
    return [section for section in sections if section not in configuration]


def _check_origin(
    plans: dict, configuration: dict, networks: Sequence[str], *, missing: Sequence[str], remedy: str
) -> None:
    """Refuse plans for none of ``networks``, and plans in which something is ``missing``."""
    name = plans.get("plans_name")
    found = configuration.get("architecture", {}).get("network_class_name")
    if found not in networks:
        raise InputError(
            f"The plans {name} were made by {plans.get('experiment_planner_used', 'another planner')} for the network "
            f"{found}, not for {' or '.join(networks)}. {remedy} and pass the new plans' name behind -p."
        )
    if missing:
        raise InputError(f"The plans {name} lack {missing[0]!r}: another version of maskmed_nnu made them. {remedy}.")


def _check_patch(plans_name: str | None, patch: list[int], strides: list[list[int]]) -> None:
    for axis, edge in enumerate(patch):
        divisor = prod(stride[axis] for stride in strides)
        if edge % divisor:
            raise InputError(
                f"The patch size {list(patch)} in the plans {plans_name} does not fit the network: its levels divide "
                f"axis {axis} by {divisor}, and {edge} is no multiple of that. Legal next to it: "
                f"{edge // divisor * divisor or divisor} or {(edge // divisor + 1) * divisor}."
            )
