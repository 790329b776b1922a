"""Checks of plans against trainer and data set, before anything heavy happens; one function per network."""

from __future__ import annotations

from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.network_checks import check_deep_supervision, check_network, check_patch
from maskmed_nnu.nnunet.plans_handling.settings import pixelwise
from maskmed_nnu.nnunet.plans_handling.settings.error_messages import lacking, planning_command
from maskmed_nnu.nnunet.plans_handling.settings.networks import IAUNET, MASKATTN_UNET, MASKMED, SIMPLE_UNET, Network
from maskmed_nnu.nnunet.plans_handling.validation import validate_plans


def check_maskmed_plans(plans: dict, configuration: dict, *, num_heads: int) -> None:
    """Refuse plans that were not made for MaskMed, for as many classes, and for a patch that its levels divide.

    ``num_heads`` counts the data set's segmentation heads: labels with background and without ignore, or regions.
    Settings are validated as in `validate_plans`, here as in the other functions.

    Raises
    ------
    InputError
    """
    name = plans.get("plans_name")
    if "architecture" not in configuration:
        raise InputError(
            f"The plans {name} describe no network architecture, as plans of nnU-Net before 2.4 did; this release "
            f"works with nnU-Net 2.8. Plan again with {planning_command(plans, MASKMED.planner)}."
        )
    validate_plans(plans, configuration, MASKMED)
    made_for = plans["maskmed_nnu"]["num_classes"]
    if num_heads > made_for:
        raise InputError(
            f"The data set has {num_heads} classes (its labels with background, or its regions), more than the "
            f"{made_for} that the plans {name} were made for. Plan again with "
            f"{planning_command(plans, MASKMED.planner)}."
        )
    check_patch(name, configuration["patch_size"], configuration["architecture"]["arch_kwargs"]["strides"])


def check_regions(plans: dict, configuration: dict, *, has_regions: bool) -> None:
    """Refuse plans for regions where the data set has labels, and the other way round.

    Raises
    ------
    InputError
    """
    planned = configuration["architecture"]["arch_kwargs"]["regions"]
    if planned != has_regions:
        kinds = {True: "regions", False: "plain labels"}
        raise InputError(
            f"The plans {plans.get('plans_name')} were made for {kinds[planned]}, but dataset.json declares "
            f"{kinds[has_regions]}. Plan again after changing dataset.json."
        )


def check_pixelwise_plans(plans: dict, configuration: dict, *, planner: str) -> None:
    """Refuse plans that ``planner``, a `PixelwisePlanner`, did not make, and settings that its network cannot have.

    Raises
    ------
    InputError
    """
    made_by = plans.get("experiment_planner_used", "another planner")
    if made_by != planner:
        raise InputError(
            f"The plans {plans.get('plans_name')} were made by {made_by}, not by {planner}. Plan again with "
            f"{planning_command(plans, planner)} and pass the new plans' name after -p."
        )
    network = Network((configuration["architecture"]["network_class_name"],), planner, pixelwise.sections)
    validate_plans(plans, configuration, network)
    check_deep_supervision(plans, configuration, pixelwise.SECTION)
    check_network(plans, configuration)


def check_simple_unet_plans(plans: dict, configuration: dict) -> None:
    """Refuse plans that were not made for SimpleUNet, and settings that it cannot have.

    Raises
    ------
    InputError
    """
    validate_plans(plans, configuration, SIMPLE_UNET)
    check_deep_supervision(plans, configuration, "simple_unet")
    check_network(plans, configuration)


def check_iaunet_plans(plans: dict, configuration: dict) -> None:
    """Refuse plans that were not made for IAUNet, and settings that it cannot have.

    Raises
    ------
    InputError
    """
    validate_plans(plans, configuration, IAUNET)
    kwargs, things = configuration["architecture"]["arch_kwargs"], configuration["instances"]["thing_classes"]
    if kwargs["num_things"] != len(things):
        raise InputError(
            f"The plans {plans.get('plans_name')} set arch_kwargs.num_things to {kwargs['num_things']}; legal is the "
            f"number of the thing_classes {things}, {len(things)}. Plan again with "
            f"{planning_command(plans, IAUNET.planner)}."
        )
    if kwargs.get("backbone") is None:
        check_patch(plans.get("plans_name"), configuration["patch_size"], kwargs["strides"])
        check_network(plans, configuration)


def check_maskattn_plans(plans: dict, configuration: dict, *, objects: bool) -> None:
    """Refuse plans that were not made for MaskAttnUNet, and settings that it cannot have.

    Also plans for labels where ``objects`` are to be learned, and the reverse.

    Raises
    ------
    InputError
    """
    name = plans.get("plans_name")
    validate_plans(plans, configuration, MASKATTN_UNET)
    for_objects = "instances" in configuration
    if for_objects and not objects:
        raise InputError(
            f"The plans {name} are for the objects of {plans.get('dataset_name')}, which "
            "nnUNetTrainerMaskAttnUNet does not separate: train with nnUNetTrainerMaskAttnUNetInstance or "
            "nnUNetTrainerMaskAttnUNetPanoptic."
        )
    if objects and not for_objects:
        raise InputError(
            f"The plans {name} are for labels: {plans.get('dataset_name')} is a semantic data set, which has no "
            "objects to learn. Train with nnUNetTrainerMaskAttnUNet, or make a data set of objects with `maskmed "
            "convert`."
        )
    kwargs = configuration["architecture"]["arch_kwargs"]
    if objects and "min_pixels" not in kwargs:
        raise lacking(plans, "arch_kwargs.min_pixels", MASKATTN_UNET.planner)
    embeds, things = bool(kwargs["embedding_dim"]), bool(kwargs.get("thing_channels", ()))
    if not embeds == things == objects:
        kind = "objects come from an embedding" if objects else "labels need none"
        raise InputError(
            f"The plans {name} have the embedding_dim {kwargs['embedding_dim']} and the thing_channels "
            f"{list(kwargs.get('thing_channels', ()))}, but {kind}; legal is {'both' if objects else 'neither'}, as "
            "MaskAttnUNetPlanner plans."
        )
    if not objects:
        check_deep_supervision(plans, configuration, "maskattn_unet")
    check_network(plans, configuration)


def check_instance_labels(plans: dict, configuration: dict, *, labels: Any, planner: str) -> None:
    """Refuse ``labels`` (a `LabelManager`) that objects do not have, and others than ``planner`` made the plans for.

    Raises
    ------
    InputError
    """
    if labels.has_regions or labels.has_ignore_label:
        kind = "regions" if labels.has_regions else "an ignore label"
        raise InputError(
            f"dataset.json declares {kind}, which data sets of objects cannot have: declare plain labels, and "
            "mark regions to ignore as a crowd (index 0 of a thing's class, with a label_divisor)."
        )
    planned = {*configuration["instances"]["thing_classes"], *configuration["instances"]["stuff_classes"]}
    if planned != set(labels.foreground_labels):
        raise InputError(
            f"dataset.json declares the labels {sorted(map(int, labels.foreground_labels))}, but the plans "
            f"{plans.get('plans_name')} were made for {sorted(planned)}. Plan again with "
            f"{planning_command(plans, planner)}."
        )
