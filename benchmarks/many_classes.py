"""Prediction of a volume with many classes: memory of the whole process, time of the sliding window and of the export.

``planes`` is what plans of many classes ask for: tiles in their order along an axis, each plane of logits resampled and
labelled as soon as it is complete. ``nnU-Net`` is its own way and its default resampling: the logits of all classes,
then resampled one class after the other. Network (SimpleUNet of width 16, random weights), tiles and image are the
same, and without mirrored views, so that the export is large beside the sliding window. Each runs in a process of its
own, whose peak is that of interpreter, packages, image and logits together. ``--scale`` is the edge of the image's
voxels on the network's grid: with 1 nothing is resampled and the logits are as large as they can be. Needs no data::

    python -m benchmarks.many_classes
    python -m benchmarks.many_classes --scale 0.5 --methods planes nnU-Net
    python -m benchmarks.many_classes --smoke --methods planes nnU-Net
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner16
from maskmed_nnu.nnunet.inference import array_prediction
from maskmed_nnu.nnunet.inference.build_predictor import build_predictor
from maskmed_nnu.nnunet.inference.label_planes import LabelPlanes
from maskmed_nnu.nnunet.plans_handling.label_export import ARGUMENTS, DEFAULT, FUNCTION
from maskmed_nnu.nnunet.plans_handling.settings.simple_unet import SECTION, SimpleUNetTraining

RESAMPLING: dict[str, tuple[str, dict[str, Any]]] = {
    "planes": (FUNCTION, ARGUMENTS),
    "nnU-Net": (DEFAULT, {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}),
}


def predictor_of(method: str, *, classes: int, patch: list[int], scale: float) -> Any:
    """SimpleUNet as nnU-Net's predictor has it, with plans that ask for the method's resampling."""
    stages = min(5, int(np.log2(min(patch))) - 1)
    kwargs = {
        "n_stages": stages,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "strides": [[1] * 3, *[[2] * 3] * (stages - 1)],
        "kernel_sizes": [[3] * 3] * stages,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        **SimpleUNetPlanner16.preset,
    }
    architecture = {
        "network_class_name": "maskmed_nnu.networks.simple_unet.SimpleUNet",
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op"],
    }
    function, arguments = RESAMPLING[method]
    configuration: dict[str, Any] = {
        "data_identifier": "none",
        "preprocessor_name": "MaskMedPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": [1 / scale] * 3,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture,
        **{f"resampling_fn_{what}": function for what in ("data", "seg", "probabilities")},
        **{f"resampling_fn_{what}_kwargs": dict(arguments) for what in ("data", "seg", "probabilities")},
        SECTION: SimpleUNetTraining.plan(),
    }
    plans = {
        "dataset_name": "Dataset001_Many",
        "plans_name": "SimpleUNet16Plans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "maskmed_nnu": {"version": "0"},
        "configurations": {"3d_fullres": configuration},
    }
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{f"class {number}": number for number in range(1, classes)}},
        "file_ending": ".nii.gz",
    }
    torch.manual_seed(0)
    network = get_network_from_plans(*architecture.values(), 1, classes, deep_supervision=False, allow_init=True)
    return build_predictor(
        plans,
        dataset,
        trainer="nnUNetTrainerSimpleUNet",
        configuration="3d_fullres",
        mirroring_axes=None,
        weights={"random": network.state_dict()},
        device="cpu",
        mirroring=False,
        name="many classes",
    )


def measure(method: str, *, shape: list[int], classes: int, patch: list[int], scale: float, threads: int) -> dict:
    """Seconds that pass in the sliding window and in the export, and the peak of this process in bytes."""
    torch.set_num_threads(threads)
    predictor = predictor_of(method, classes=classes, patch=patch, scale=scale)
    grid = [round(edge * scale) for edge in shape]
    coarse = torch.randn(1, 1, *(max(edge // 16, 2) for edge in grid))
    image = torch.nn.functional.interpolate(coarse, grid, mode="trilinear")[0].numpy()
    properties = {
        "spacing": [1.0] * 3,
        "shape_after_cropping_and_before_resampling": tuple(shape),
        "shape_before_cropping": tuple(shape),
        "bbox_used_for_cropping": [[0, edge] for edge in shape],
    }
    export = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            export[0] += time.perf_counter() - begin
            return result

        return call

    convert = "convert_predicted_logits_to_segmentation_with_correct_shape"
    with (
        mock.patch.object(LabelPlanes, "add", timed(LabelPlanes.add)),
        mock.patch.object(array_prediction, convert, timed(getattr(array_prediction, convert))),
    ):
        begin = time.perf_counter()
        labels, _ = array_prediction.predict_semantic(predictor, image, properties)
        seconds = time.perf_counter() - begin
    assert labels.shape == tuple(shape)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"method": method, "window": seconds - export[0], "export": export[0], "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=RESAMPLING, default=["planes"])
    parser.add_argument("--shape", type=int, nargs=3, default=[300, 512, 512], help="of the image")
    parser.add_argument("--classes", type=int, default=60)
    parser.add_argument("--patch", type=int, nargs=3, default=[128, 128, 128])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a tiny volume, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.shape, args.patch, args.classes = [20, 24, 30], [16, 16, 16], 12
    settings = {name: getattr(args, name) for name in ("shape", "classes", "patch", "scale", "threads")}
    rows = []
    for method in args.methods:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (method,), settings))
    if args.json:
        print(json.dumps({"settings": settings, "rows": rows}, indent=2))
        return
    print("| method | window, s | export, s | export / window | peak memory, GB |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        share = row["export"] / row["window"]
        print(
            f"| {row['method']} | {row['window']:.1f} | {row['export']:.1f} | {share:.2f} | {row['peak'] / 1e9:.1f} |"
        )
    grid = "×".join(str(round(edge * args.scale)) for edge in args.shape)
    print(
        f"\n{args.classes} classes in {'×'.join(map(str, args.shape))} voxels, {grid} at the network's spacing; patch "
        f"{'×'.join(map(str, args.patch))}, {args.threads} thread(s)"
    )


if __name__ == "__main__":
    main()
