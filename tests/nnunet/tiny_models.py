"""Trained folders of toy networks of all kinds, with random weights from one seed: prediction takes milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

NETWORKS = ("MaskMed", "SimpleUNet", "MaskAttnUNet", "IAUNet", "MaskAttnUNetPanoptic")
VOLUMES = ("MaskMed", "SimpleUNet", "IAUNet")
"""Those that have a 3D configuration."""
OBJECTS = ("IAUNet", "MaskAttnUNetPanoptic")
LABELS = {"background": 0, "liver": 1, "spleen": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2}
TRAINING: dict[str, dict[str, Any]] = {
    "MaskMed": {
        "set_loss": {
            "class_weight": 0.2,
            "bce_weight": 1.2,
            "dice_weight": 1.2,
            "no_object_weight": 0.1,
            "semantic_weight": 1.0,
            "aux_weight": 1.0,
            "num_points": None,
            "balanced_ratio": 0.25,
        }
    },
    "SimpleUNet": {"simple_unet": {"deep_supervision": False, "learning_rate": 0.005}},
    "MaskAttnUNet": {"maskattn_unet": {"deep_supervision": False, "learning_rate": 0.0005}},
    "IAUNet": {
        "instance_loss": {
            "class_weight": 1.0,
            "bce_weight": 2.0,
            "dice_weight": 2.0,
            "heat_weight": 1.0,
            "vote_weight": 1.0,
            "duplicate_weight": 1.0,
            "num_points": 1024,
            "dense_weight": 1.0,
        }
    },
    "MaskAttnUNetPanoptic": {
        "maskattn_unet": {"learning_rate": 0.0005},
        "instance_loss": {"contrastive_weight": 0.5, "temperature": 0.1, "pixels": 1024, "reach": 40},
    },
}
"""What the plans say of the training."""


def tiny_model(
    folder: Path,
    network: str,
    *,
    dim: int = 2,
    folds: tuple[int | str, ...] = (0,),
    channels: tuple[str, ...] = ("MR",),
    labels: dict[str, Any] | None = None,
    reader: str | None = None,
    ending: str | None = None,
    spacing: tuple[float, ...] | None = None,
    transpose: tuple[int, int, int] = (0, 1, 2),
    **dataset: Any,
) -> Path:
    """A model folder; ``spacing`` is that of the plans, ``dataset`` more entries of ``dataset.json``."""
    objects, name = network in OBJECTS, "2d" if dim == 2 else "3d_fullres"
    labels = labels or ({"background": 0, "cell": 1} if network == "IAUNet" else LABELS)
    if network == "MaskAttnUNetPanoptic":
        dataset = {"label_divisor": 1000, **dataset}
    ending = ending or (".png" if objects and dim == 2 else ".nii.gz")
    description = {
        "channel_names": {str(index): channel for index, channel in enumerate(channels)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ending,
        **({"overwrite_image_reader_writer": "InstanceIO"} if objects else {}),
        **({"regions_class_order": [1, 2]} if any(isinstance(value, list) for value in labels.values()) else {}),
        **dataset,
    }
    heads = len(labels) - ("regions_class_order" in description) - ("ignore" in labels)
    architecture = _architecture(network, dim, heads, "regions_class_order" in description)
    resampling = {
        f"resampling_fn_{what}{suffix}": value
        for what, order in {"data": 3, "seg": 1, "probabilities": 1}.items()
        for suffix, value in (
            ("", "resample_data_or_seg_to_shape"),
            ("_kwargs", {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}),
        )
    }
    things = [1]
    instances = {
        "thing_classes": things,
        "stuff_classes": [number for number in labels.values() if number and number not in things],
        "layer_classes": things,
        "score_threshold": 0.02,
        "min_fragment": [1],
        "label_divisor": description.get("label_divisor"),
        "overlap_layers": description.get("overlap_layers", False),
        "scale": 1.0,
    }
    configuration = {
        "data_identifier": f"{network}Plans_{name}",
        "preprocessor_name": "InstancePreprocessor" if objects else "MaskMedPreprocessor",
        "batch_size": 2,
        "patch_size": [32, 32] if dim == 2 else [8, 16, 16],
        "median_image_size_in_voxels": [32.0] * dim,
        "spacing": list(spacing or [1.0] * dim),
        "normalization_schemes": ["ZScoreNormalization"] * len(channels),
        "use_mask_for_norm": [False] * len(channels),
        "architecture": architecture,
        **resampling,
        **({"instances": instances} if objects else {}),
        **TRAINING[network],
    }
    plans = {
        "dataset_name": "Dataset007_Tiny",
        "plans_name": f"{network}Plans",
        "original_median_spacing_after_transp": [1.0] * 3,
        "original_median_shape_after_transp": [8, 32, 32],
        "image_reader_writer": reader or ("InstanceIO" if objects else "SimpleITKIO"),
        "label_manager": "InstanceLabelManager" if objects else "LabelManager",
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "experiment_planner_used": f"{network}Planner",
        "foreground_intensity_properties_per_channel": {str(index): {} for index in range(len(channels))},
        "maskmed_nnu": {"version": "0.1.0", **({"num_classes": heads} if network == "MaskMed" else {})},
        "configurations": {name: configuration},
    }
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(description))
    for number, fold in enumerate(folds):
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": _weights(architecture, len(channels), heads, configuration["patch_size"], number),
            "trainer_name": f"nnUNetTrainer{network}",
            "init_args": {"configuration": name},
            "inference_allowed_mirroring_axes": tuple(range(dim)),
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def _weights(
    architecture: dict[str, Any], channels: int, heads: int, patch: list[int], number: int
) -> dict[str, torch.Tensor]:
    """Random ones, of a seed with which no class wins everywhere."""
    # queries that have not learned anything agree, unless their weights are large
    scale = 8 if architecture["network_class_name"].endswith("MaskMed") else 1
    options = {"allow_init": True, "deep_supervision": False}
    with torch.random.fork_rng():
        for seed in range(100 * number, 100 * number + 60):
            torch.manual_seed(seed)
            network = get_network_from_plans(*architecture.values(), channels, heads, **options).eval()
            weights = {name: v * scale if v.ndim > 1 else v for name, v in network.state_dict().items()}
            network.load_state_dict(weights)
            if getattr(network, "predicts_instances", hasattr(network, "predict_instances")):
                break
            with torch.inference_mode():
                shares = network(torch.randn(1, channels, *patch)).argmax(1).flatten().bincount(minlength=heads)
            if shares.sort().values[-2] > 0.4 * shares.sum():
                break
    return weights


def _architecture(network: str, dim: int, heads: int, regions: bool) -> dict[str, Any]:
    norm = {
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    }
    common = {
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "strides": [[1] * dim, [1, *[2] * (dim - 1)] if dim == 3 else [2, 2], [2] * dim],
        "n_stages": 3,
        **norm,
    }
    encoder = {
        "features_per_stage": [4, 8, 12],
        "kernel_sizes": [[3] * dim] * 3,
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    if network == "MaskMed":
        fsad = {"query_levels": [1, 2], "dim": 16, "heads": 2, "points": 2, "layers": 1, "ffn": 16, "dropout": 0.0}
        head = {"num_queries": 5, "head_dim": 16, "head_heads": 2, "head_ffn": 16, "head_levels": [2, 1]}
        own: dict[str, Any] = {**encoder, **head, "regions": regions, "head": "queries", "fsad": fsad}
    elif network == "SimpleUNet":
        own = {
            "kernel_sizes": [[3] * dim] * 3,
            "width": 8,
            "blocks_per_stage": 1,
            "selection_rate": 0.5,
            "fusion": "concatenate",
            "adaptive_fusion": True,
            "head_norm": False,
            "dilation": 1,
            "operators": "dense",
            "early_reduction": False,
        }
    elif network == "IAUNet":
        own = {
            **encoder,
            "num_things": 1,
            "blocks_per_level": 0,
            "width": 16,
            "levels": 1,
            "pyramid": [8],
            "heads": 2,
            "ffn": 16,
            "num_queries": 9,
            "query_stride": 2,
            "window": 12 if dim == 2 else [6, 12, 12],
            "mask_channels": 4,
        }
    else:
        own = {
            "features_per_stage": [4, 8, 8],
            "heads": 2,
            "placement": "both",
            "mask": "soft",
            "key_strides": [2, 1, 1],
        }
        own["embedding_dim"] = 8 if network == "MaskAttnUNetPanoptic" else 0
        if network == "MaskAttnUNetPanoptic":
            own |= {"thing_channels": [1], "affinity_threshold": 0.5, "min_pixels": 3}
    classes = {
        "MaskMed": "maskmed.MaskMed",
        "SimpleUNet": "simple_unet.SimpleUNet",
        "IAUNet": "iaunet.IAUNet",
        "MaskAttnUNet": "maskattn_unet.MaskAttnUNet",
        "MaskAttnUNetPanoptic": "maskattn_unet.MaskAttnUNet",
    }
    kwargs = {**common, **own}
    return {
        "network_class_name": f"maskmed_nnu.networks.{classes[network]}",
        "arch_kwargs": kwargs,
        "_kw_requires_import": [key for key in ("conv_op", "norm_op", "dropout_op", "nonlin") if key in kwargs],
    }
