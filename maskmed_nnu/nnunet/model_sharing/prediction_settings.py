"""How nnU-Net predicts with a trained network, in words that other programs can follow.

`docs/reference/onnx.md` explains every entry and the steps of a prediction in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference.mirrored_views import output_classes, view_axes
from maskmed_nnu.nnunet.inference.predictor import prediction_settings as object_settings
from maskmed_nnu.nnunet.inference.predictor import tile_overlap
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.mirroring import mirroring_of
from maskmed_nnu.version import package_version

OPSET = 18  # the one that torch's exporter is written in; younger ones are converted from it
TILE_STEP_SIZE = 0.5
INTENSITY_STATISTICS = {
    "ZScoreNormalization": (),
    "CTNormalization": ("percentile_00_5", "percentile_99_5", "mean", "std"),
    "NoNormalization": (),
    "RescaleTo01Normalization": (),
    "RGBTo01Normalization": (),
}
"""nnU-Net's normalisation schemes, and what each takes from the data set's fingerprint."""


def prediction_settings(
    plans: dict,
    dataset: dict,
    *,
    configuration: str,
    trainer: str,
    mirroring_axes: Sequence[int] | None,
    folds: Sequence[int | str],
) -> dict[str, Any]:
    """What another program has to know to predict as nnU-Net does with its defaults; names are nnU-Net's own.

    Axes and shapes are those of the array that ``reader`` delivers after ``transpose_forward``.

    Raises:
        InputError: for a normalisation that it cannot describe.
    """
    settings = resolve_configuration(plans, configuration)
    of_objects = "instances" in settings
    patch = [int(edge) for edge in settings["patch_size"]]
    resampled = ("data",) if of_objects else ("data", "probabilities")
    described: dict[str, Any] = {
        "model": {
            "maskmed_nnu": package_version(),
            "dataset": plans["dataset_name"],
            "plans": plans["plans_name"],
            "configuration": configuration,
            "trainer": trainer,
            "folds": list(folds),
            "opset": OPSET,
        },
        "channels": _channels(plans, settings, dataset),
        "preprocessing": {
            "reader": plans["image_reader_writer"],
            "transpose_forward": plans["transpose_forward"],
            "transpose_backward": plans["transpose_backward"],
            "crop": "none" if of_objects else "nonzero",
            "spacing": settings["spacing"],
            "resampling": {what: _resampling(settings, what) for what in resampled},
        },
        # nnUNetPredictor's defaults, which plans do not hold
        "sliding_window": {
            "patch_size": patch,
            **({"overlap": list(tile_overlap(settings, TILE_STEP_SIZE))} if of_objects else {}),
            **({} if of_objects else {"tile_step_size": TILE_STEP_SIZE}),
            "gaussian": {
                "center": [edge // 2 for edge in patch],
                "sigma": [edge / 8 for edge in patch],
                "maximum": 10,
                "minimum": 2**-24,  # weights are float16, and those that vanish become the smallest one
            },
            **_mirroring(plans, settings, dataset, mirroring_axes or ()),
        },
        "labels": _labels(plans, dataset),
    }
    if of_objects:
        described["labels"] = {"names": described["labels"]["names"]}
        described["objects"] = _objects(settings, dataset)
    return described


def _objects(settings: dict, dataset: dict) -> dict[str, Any]:
    """How objects are taken from what the network gives for a tile."""
    rules = object_settings(settings)
    arguments = settings["architecture"]["arch_kwargs"]
    embedding = ("thing_channels", "affinity_threshold", "min_pixels")
    queries = {"tile_score_threshold": arguments.get("score_threshold", 0.05)}
    return {
        "thing_classes": list(rules["thing_classes"]),
        "stuff_classes": list(rules["stuff_classes"]),
        "score_threshold": rules["score_threshold"],
        **({name: arguments[name] for name in embedding} if "thing_channels" in arguments else queries),
        **{key: dataset[key] for key in ("label_divisor", "overlap_layers") if key in dataset},
    }


def _mirroring(plans: dict, configuration: dict, dataset: dict, axes: Sequence[int]) -> dict:
    """``mirror_swap``: for an axis, the output channel at each position after a flip along it."""
    labels = PlansManager(plans).get_label_manager(dataset)
    mirroring = mirroring_of(plans, configuration, labels)
    axes, classes = view_axes(mirroring, axes, labels), output_classes(labels)
    swap = {str(axis): mirroring.order(classes, [axis]) for axis in axes if mirroring.swap.get(axis)}
    return {"mirror_axes": axes, "mirror_swap": swap}


def _channels(plans: dict, configuration: dict, dataset: dict) -> list[dict]:
    channels = []
    names = (dataset.get("channel_names") or dataset["modality"]).values()
    for index, (name, scheme, masked) in enumerate(
        zip(names, configuration["normalization_schemes"], configuration["use_mask_for_norm"], strict=True)
    ):
        if scheme not in INTENSITY_STATISTICS:
            raise InputError(
                f"Channel {index} ({name}) is normalised by {scheme}, which the export cannot describe; it knows "
                f"{', '.join(INTENSITY_STATISTICS)}."
            )
        intensities = plans["foreground_intensity_properties_per_channel"][str(index)]
        numbers = {number: intensities[number] for number in INTENSITY_STATISTICS[scheme]}
        channels.append({"name": name, "normalization": scheme, "use_mask_for_norm": masked, **numbers})
    return channels


def _resampling(configuration: dict, what: str) -> dict:
    kwargs = configuration[f"resampling_fn_{what}_kwargs"]
    return {
        "function": configuration[f"resampling_fn_{what}"],
        "separate_z_anisotropy_threshold": ANISO_THRESHOLD,
        **kwargs,
    }


def _labels(plans: dict, dataset: dict) -> dict:
    """``values`` has a label for each output channel, in the channels' order."""
    labels = PlansManager(plans).get_label_manager(dataset)
    names = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    if labels.has_regions:
        return {"names": names, "rule": "sigmoid > 0.5", "values": list(dataset["regions_class_order"])}
    return {"names": names, "rule": "argmax", "values": list(range(labels.num_segmentation_heads))}
