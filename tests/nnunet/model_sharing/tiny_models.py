"""SimpleUNets of few channels, in folders as nnU-Net leaves them."""

from __future__ import annotations

import json

import torch

from maskmed_nnu.networks import SimpleESKNet, SimpleUNet

ORDERS = {"data": 3, "probabilities": 1, "seg": 1}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
LABELS = {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}}


def architecture(dims: int, network: type = SimpleUNet, **settings) -> dict:
    norm = settings.pop("norm", "torch.nn.modules.instancenorm.InstanceNorm")
    kwargs = {
        "n_stages": 3,
        "strides": [[1] * dims, [1, *[2] * (dims - 1)], [2] * dims],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "norm_op": f"{norm}{dims}d",
        "norm_op_kwargs": {"affine": True},
        "width": 8,
        "selection_rate": 0.5,
    }
    if network is SimpleUNet:
        kwargs["kernel_sizes"] = [[1, *[3] * (dims - 1)], *[[3] * dims] * 2]
    return {
        "network_class_name": f"{network.__module__}.{network.__name__}",
        "arch_kwargs": kwargs | settings,
        "_kw_requires_import": ["conv_op", "norm_op"],
    }


def model_folder(folder, patch: list[int], built: dict, folds: list[dict], labels: dict = LABELS, **plan) -> None:
    """An nnU-Net model folder with a CT and an MR channel; ``folds`` are the weights."""
    resampling = {
        f"resampling_fn_{what}{suffix}": value
        for what, order in ORDERS.items()
        for suffix, value in (
            ("", "resample_data_or_seg_to_shape"),
            ("_kwargs", {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}),
        )
    }
    name = "2d" if len(patch) == 2 else "3d_fullres"
    configuration = {
        "patch_size": patch,
        "spacing": [1.0] * len(patch),
        "preprocessor_name": "DefaultPreprocessor",
        "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
        "use_mask_for_norm": [False, True],
        "architecture": built,
        "simple_unet": {"deep_supervision": False, "learning_rate": 5e-3},
        **resampling,
    }
    intensities = {"mean": 40.0, "std": 90.0, "percentile_00_5": -120.0, "percentile_99_5": 200.0}
    plans = {
        "dataset_name": "Dataset001_Made",
        "plans_name": "SimpleUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": intensities, "1": intensities},
        "label_manager": "LabelManager",
        "configurations": {name: configuration},
        **plan,
    }
    dataset = {"channel_names": {"0": "CT", "1": "MR"}, "file_ending": ".nii.gz", **labels}
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for number, weights in enumerate(folds):
        (folder / f"fold_{number}").mkdir()
        checkpoint = {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainerSimpleUNet",
            "init_args": {"configuration": name},
            "inference_allowed_mirroring_axes": tuple(range(len(patch))),
        }
        torch.save(checkpoint, folder / f"fold_{number}" / "checkpoint_final.pth")


def build(built: dict, *, heads: int = 3) -> SimpleUNet | SimpleESKNet:
    """The network itself, without nnU-Net, after a step that moves the norms' statistics."""
    torch.manual_seed(0)
    kwargs = dict(built["arch_kwargs"])
    for name in ("conv_op", "norm_op"):
        kwargs[name] = getattr(torch.nn, kwargs[name].split(".")[-1])
    network = {"SimpleUNet": SimpleUNet, "SimpleESKNet": SimpleESKNet}[built["network_class_name"].split(".")[-1]]
    network = network(input_channels=2, num_classes=heads, **kwargs)
    with torch.no_grad():
        network.train()(torch.randn(2, 2, *[16] * (len(kwargs["strides"][0]))))
    return network.eval()
