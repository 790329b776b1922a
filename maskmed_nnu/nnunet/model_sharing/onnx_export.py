"""A trained SimpleUNet as one ONNX file that also says how nnU-Net predicts with it.

`docs/simple_unet.md` explains every entry of the metadata and the steps of a prediction in their order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.inference.mirrored_views import output_classes, view_axes
from maskmed_nnu.nnunet.plans_handling.checks import check_simple_unet_plans
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.mirroring import mirroring_of
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input
from maskmed_nnu.version import package_version

OPSET = 18  # the one that torch's exporter is written in; younger ones are converted from it
CHECKPOINT = "checkpoint_final.pth"
INTENSITY_STATISTICS = {
    "ZScoreNormalization": (),
    "CTNormalization": ("percentile_00_5", "percentile_99_5", "mean", "std"),
    "NoNormalization": (),
    "RescaleTo01Normalization": (),
    "RGBTo01Normalization": (),
}
"""nnU-Net's normalisation schemes, and what each takes from the data set's fingerprint."""


class MeanLogits(nn.Module):
    """The folds' mean, per tile: as all that follows is linear, nnU-Net's mean over whole images is the same."""

    def __init__(self, folds: Sequence[nn.Module]) -> None:
        super().__init__()
        self.folds = nn.ModuleList(folds)

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([fold(image) for fold in self.folds]).mean(0)


def export_onnx(model_folder: str | Path, file: str | Path, *, folds: Sequence[int | str] | int | str) -> None:
    """Write the network of an nnU-Net model folder to ``file``, with the settings of its prediction.

    The graph takes ``image [B, C, *patch]`` (preprocessed, any B) to ``logits [B, heads, *patch]``, the mean of those
    of ``folds`` (numbers or "all", one or several). The metadata (``metadata_props``, JSON values) is
    `prediction_settings`. Checkpoints are unpickled, as nnU-Net does: export only models that you trust.

    Raises
    ------
    InputError
        Where a file of the model, the folder of ``file`` or a package is missing, ``file`` is one of the model's, or
        the model is no SimpleUNet.
    """
    folds = [folds] if isinstance(folds, (int, str)) else list(folds)
    if not folds:
        raise InputError("No fold is named to be exported; give one or more, as 0, [0, 1] or 'all'.")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"The export to ONNX needs {' and '.join(missing)}, which this environment lacks; install with "
            "pip install 'maskmed-nnu[export]'."
        )
    folder, file = Path(model_folder), Path(file)
    if not file.parent.is_dir():
        raise InputError(f"There is no folder {file.parent} for {file.name}; make it, or name another.")
    weights = [folder / f"fold_{fold}" / CHECKPOINT for fold in folds]
    plans_file, dataset_file = folder / "plans.json", folder / "dataset.json"
    refuse_image_folder(file.parent)
    refuse_output_over_input([file], [plans_file, dataset_file, *weights], advice="name another file")
    plans, dataset = _read_json(plans_file), _read_json(dataset_file)
    checkpoints = [_load_checkpoint(path) for path in weights]
    configuration = resolve_configuration(plans, checkpoints[0]["init_args"]["configuration"])
    check_simple_unet_plans(plans, configuration)
    settings = prediction_settings(plans, dataset, checkpoints[0], folds)
    network = MeanLogits([_network(plans, dataset, checkpoint) for checkpoint in checkpoints]).eval()

    # two images, since torch takes a batch of one for a constant
    example = torch.zeros(2, len(settings["channels"]), *configuration["patch_size"])
    program = torch.onnx.export(
        network if len(checkpoints) > 1 else network.folds[0],
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["image"],
        output_names=["logits"],
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None, "the exporter returns a program with dynamo"
    program.model.metadata_props.update({name: json.dumps(value) for name, value in settings.items()})
    write_atomically(file, program.save)


def prediction_settings(plans: dict, dataset: dict, checkpoint: dict, folds: Sequence[int | str]) -> dict[str, Any]:
    """What another program has to know to predict as nnU-Net does with its defaults; names are nnU-Net's own.

    Axes and shapes are those of the array that ``reader`` delivers after ``transpose_forward``.
    """
    name = checkpoint["init_args"]["configuration"]
    configuration = resolve_configuration(plans, name)
    patch = [int(edge) for edge in configuration["patch_size"]]
    return {
        "model": {
            "maskmed_nnu": package_version(),
            "dataset": plans["dataset_name"],
            "plans": plans["plans_name"],
            "configuration": name,
            "trainer": checkpoint["trainer_name"],
            "folds": list(folds),
            "opset": OPSET,
        },
        "channels": _channels(plans, configuration, dataset),
        "preprocessing": {
            "reader": plans["image_reader_writer"],
            "transpose_forward": plans["transpose_forward"],
            "transpose_backward": plans["transpose_backward"],
            "crop": "nonzero",
            "spacing": configuration["spacing"],
            "resampling": {what: _resampling(configuration, what) for what in ("data", "probabilities")},
        },
        # nnUNetPredictor's defaults, which plans do not hold
        "sliding_window": {
            "patch_size": patch,
            "tile_step_size": 0.5,
            "gaussian": {
                "center": [edge // 2 for edge in patch],
                "sigma": [edge / 8 for edge in patch],
                "maximum": 10,
                "minimum": 2**-24,  # weights are float16, and those that vanish become the smallest one
            },
            **_mirroring(plans, configuration, dataset, checkpoint["inference_allowed_mirroring_axes"] or ()),
        },
        "labels": _labels(plans, dataset),
    }


def _mirroring(plans: dict, configuration: dict, dataset: dict, axes: Sequence[int]) -> dict:
    """``mirror_swap``: for an axis, the output channel that stands at each place after a flip along it."""
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


def _network(plans: dict, dataset: dict, checkpoint: dict) -> nn.Module:
    manager = PlansManager(plans)
    configuration = manager.get_configuration(checkpoint["init_args"]["configuration"])
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        determine_num_input_channels(manager, configuration, dataset),
        manager.get_label_manager(dataset).num_segmentation_heads,
        allow_init=False,
        deep_supervision=False,
    )
    network.load_state_dict(checkpoint["network_weights"])
    return network


def _read_json(file: Path) -> dict:
    _check_exists(file)
    return read_json(file, expected="what nnU-Net wrote into the model's folder")


def _load_checkpoint(file: Path) -> dict:
    _check_exists(file)
    return torch.load(file, map_location="cpu", weights_only=False)


def _check_exists(file: Path) -> None:
    if not file.is_file():
        raise InputError(
            f"There is no {file}; name the folder that nnUNetv2_train has made, TRAINER__PLANS__CONFIGURATION, and "
            "folds whose training has ended."
        )
