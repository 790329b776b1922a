"""Names in the plans of a package, which nnU-Net would import: only those of networks and of nnU-Net's own steps.

nnU-Net looks names up by ``pydoc.locate``, which gets at any function of any module, and by searching modules for any
attribute. Plans of one's own training are trusted; those of a package come from somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pydoc import ErrorDuringImport, locate
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from maskmed_nnu.dataset_json import ENDINGS, READERS
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.json_file import shown
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration

MODULES = re.compile(r"(maskmed_nnu\.networks|dynamic_network_architectures|torch\.nn)(\.\w+)+")
NETWORK_PARTS = "a network or layer of maskmed_nnu.networks, dynamic_network_architectures or torch.nn"
DEFINED_IN = ("maskmed_nnu.networks.", "dynamic_network_architectures.", "torch.nn.modules.")
TRAINERS = re.compile(r"nnUNetTrainer\w*")
BACKBONES = re.compile(r"\w[\w.]*")
PREPROCESSORS = ("DefaultPreprocessor", "MaskMedPreprocessor", "InstancePreprocessor")
LABEL_MANAGERS = ("LabelManager", "InstanceLabelManager")
NORMALIZATIONS = (
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)
RESAMPLINGS = (
    "resample_data_or_seg_to_shape",
    "resample_torch_fornnunet",
    "resample_torch_simple",
    "no_resampling_hack",
)
LARGEST_PATCH = 2**14  # along one axis
LARGEST_NUMBER = 2**14
"""Of layers, features and whatever else networks are built from."""
LARGEST_LIST = 1000


def check_names(
    plans: dict[str, Any],
    dataset_json: Mapping[str, Any],
    *,
    trainer: str,
    configuration: str,
    axes: Sequence[int],
    source: str,
) -> None:
    """Refuse plans with names that a model has no use for, and numbers that make no sense.

    ``axes`` are those of mirroring, and ``source`` is what the sentence calls the package.

    Raises:
        InputError: says which name stands where, and what is legal.
    """
    try:
        settings = resolve_configuration(plans, configuration)
        found = [
            ("image_reader_writer", [plans["image_reader_writer"]], READERS),
            ("label_manager", [plans.get("label_manager", LABEL_MANAGERS[0])], LABEL_MANAGERS),
            ("preprocessor_name", [settings["preprocessor_name"]], PREPROCESSORS),
            ("normalization_schemes", list(settings["normalization_schemes"]), NORMALIZATIONS),
            *(
                (name, [settings[name]], RESAMPLINGS)
                for name in ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")
            ),
        ]
        architecture = settings["architecture"]
        arguments = dict(architecture["arch_kwargs"])
        imported = {key: arguments[key] for key in architecture["_kw_requires_import"]}
        imported["network_class_name"] = architecture["network_class_name"]
        ending = dataset_json["file_ending"]
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(
            f"The plans in {source} are not plans of nnU-Net 2.8 ({type(error).__name__}: {error}); export the "
            "model again."
        ) from None
    for place, names, legal in found:
        _check_listed(place, names, legal, source)
    _check_listed("file_ending", [ending], ENDINGS, source)
    if not TRAINERS.fullmatch(trainer):
        raise _refusal("trainer", trainer, "nnUNetTrainer and what follows it", source)
    for place, name in imported.items():
        if name is None and place != "network_class_name":
            continue
        if not (isinstance(name, str) and MODULES.fullmatch(name)):
            raise _refusal(place, name, NETWORK_PARTS, source)
    backbone = arguments.get("backbone")
    if backbone is not None and not (isinstance(backbone, str) and BACKBONES.fullmatch(backbone)):
        raise _refusal("backbone", backbone, "a model of timm", source)
    if arguments.get("backbone_weights") is not None:
        raise _refusal(
            "backbone_weights", arguments["backbone_weights"], "null, because the package contains all weights", source
        )
    if not _is_moderate(arguments):
        raise InputError(
            f"The plans in {source} describe a network with settings above {LARGEST_NUMBER:,}, which would not "
            "fit into memory; do not use it."
        )
    channels = dataset_json.get("channel_names") or dataset_json.get("modality")
    _check_numbers({**plans, **settings, "channel_names": channels}, axes, source)


def _is_moderate(value: Any) -> bool:
    """Whether a network of these arguments can be built; only then are weights compared with it."""
    if isinstance(value, (dict, list)):
        parts = value.values() if isinstance(value, dict) else value
        return len(value) <= LARGEST_LIST and all(map(_is_moderate, parts))
    return not isinstance(value, (int, float)) or value <= LARGEST_NUMBER


class Numbers(BaseModel):
    """What prediction counts with."""

    patch_size: list[Annotated[int, Field(ge=1, le=LARGEST_PATCH)]] = Field(min_length=2, max_length=3)
    spacing: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(min_length=2, max_length=3)
    batch_size: int = Field(default=1, ge=1)
    transpose_forward: list[int]
    transpose_backward: list[int]
    channel_names: dict[str, Any]
    normalization_schemes: list[str]
    use_mask_for_norm: list[bool]
    resampling_fn_data_kwargs: dict[str, Any]
    resampling_fn_seg_kwargs: dict[str, Any]
    resampling_fn_probabilities_kwargs: dict[str, Any]
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]]


def _check_numbers(settings: Mapping[str, Any], axes: Sequence[int], source: str) -> None:
    try:
        numbers = Numbers.model_validate(settings)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place, found = str(fault["loc"][0]), settings.get(str(fault["loc"][0]))
        raise InputError(
            f"The plans in {source} set {place} to {shown(found)} ({fault['msg']}); do not use it."
        ) from None
    dim, forward = len(numbers.patch_size), numbers.transpose_forward
    inverse = [forward.index(axis) for axis in range(3)] if sorted(forward) == [0, 1, 2] else None
    if numbers.transpose_backward != inverse or len(numbers.spacing) != dim or not set(axes) <= set(range(dim)):
        raise InputError(f"The axes in the plans of {source} do not fit each other; do not use it.")
    channels = {len(numbers.channel_names), len(numbers.normalization_schemes), len(numbers.use_mask_for_norm)}
    measured = numbers.foreground_intensity_properties_per_channel
    if len(channels) > 1 or not {str(number) for number in range(*channels)} <= measured.keys():
        raise InputError(f"The channels in plans and dataset.json of {source} do not fit each other; do not use it.")


def _check_listed(place: str, names: Iterable[Any], legal: tuple[str, ...], source: str) -> None:
    for name in names:
        if name not in legal:
            raise _refusal(place, name, format_list(legal), source)


def check_classes(plans: dict[str, Any], *, configuration: str, source: str) -> None:
    """Refuse names in plans that passed `check_names` and are no module classes defined in a library of networks, but
    merely reached through one. This imports them, and torch.

    Raises:
        InputError: says which name stands where, and what is legal.
    """
    from torch import nn

    architecture = resolve_configuration(plans, configuration)["architecture"]
    arguments = architecture["arch_kwargs"]
    names = {key: arguments[key] for key in architecture["_kw_requires_import"] if arguments[key] is not None}
    for place, name in {**names, "network_class_name": architecture["network_class_name"]}.items():
        try:
            found = locate(name)
        except ErrorDuringImport:
            found = None
        if not (isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(DEFINED_IN)):
            raise _refusal(place, name, NETWORK_PARTS, source)


def _refusal(place: str, name: Any, legal: str, source: str) -> InputError:
    return InputError(f"{source} names {shown(name)} as {place}, but a package may name only {legal}; do not use it.")
