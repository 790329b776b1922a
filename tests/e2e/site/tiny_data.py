"""Tiny nnU-Net raw data sets on disk: bright blobs in noise, with every label arrangement that nnU-Net knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE = (20, 28, 24)
"""[z, y, x]; images are 24 × 28 × 20 voxels."""
SPACING = (1.0, 1.1, 1.5)
ORIGIN = (-12.0, 7.5, 30.0)
ANGLE = 0.2

SCENARIOS: dict[str, dict] = {
    "plain": {"labels": {"background": 0, "ball": 1, "box": 2}},
    "ignore": {"labels": {"background": 0, "ball": 1, "box": 2, "ignore": 3}},
    "regions": {"labels": {"background": 0, "whole": [1, 2], "box": [2]}, "regions_class_order": [1, 2]},
    "regions_ignore": {
        "labels": {"background": 0, "whole": [1, 2], "box": [2], "ignore": 3},
        "regions_class_order": [1, 2],
    },
}


def oblique_direction() -> tuple[float, ...]:
    c, s = float(np.cos(ANGLE)), float(np.sin(ANGLE))
    return (c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0)


def make_case(seed: int, *, shape: tuple[int, int, int] = SHAPE, ignore: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32) and label map (uint8), both ``[z, y, x]``: a ball 1, a box 2, and a slab 3 where `ignore`."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    label = np.zeros(shape, np.uint8)
    ball = rng.uniform(-0.5, -0.2, 3)[:, None, None, None]
    box = rng.uniform(0.2, 0.5, 3)[:, None, None, None]
    label[((grid - ball) ** 2).sum(0) < 0.2] = 1
    label[np.abs(grid - box).max(0) < 0.35] = 2
    image = np.array([0.0, 120.0, 240.0], np.float32)[label] + rng.normal(0, 15, shape).astype(np.float32)
    if ignore:
        label[:, :3] = 3
    return image, label


def write_image(path: Path, array: np.ndarray, *, oblique: bool = False) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    if oblique:
        image.SetDirection(oblique_direction())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write_dataset(
    raw: Path,
    name: str,
    *,
    scenario: str = "plain",
    cases: int = 6,
    test_cases: int = 1,
    channels: int = 1,
    shape: tuple[int, int, int] = SHAPE,
) -> Path:
    """Write ``raw/name`` with imagesTr, labelsTr, imagesTs, labelsTs and dataset.json; every other case is oblique."""
    folder = raw / name
    for index in range(cases + test_cases):
        part = "Tr" if index < cases else "Ts"
        image, label = make_case(index, shape=shape, ignore="ignore" in scenario)
        for channel in range(channels):
            path = folder / f"images{part}" / f"case_{index:02d}_{channel:04d}.nii.gz"
            write_image(path, image * (1 - 2 * channel), oblique=index % 2 == 0)
        write_image(folder / f"labels{part}" / f"case_{index:02d}.nii.gz", label, oblique=index % 2 == 0)
    description = {
        **SCENARIOS[scenario],
        "channel_names": {str(channel): f"MR{channel}" for channel in range(channels)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def shrink_plans(plans_file: Path, *, lowres: bool = False) -> None:
    """Make every configuration small enough to train in seconds: patch, widths, transformers; keep its logic.

    ``lowres`` adds 3d_lowres and the cascade behind it, which nnU-Net plans for large images only.
    """
    plans = json.loads(plans_file.read_text())
    for name, configuration in plans["configurations"].items():
        if "architecture" not in configuration:
            continue
        dim = 2 if name == "2d" else 3
        residual = "n_blocks_per_stage" in configuration["architecture"]["arch_kwargs"]
        # two tiles in 3D, one per slice in 2D: hundreds of tiles would take most of the time
        configuration.update(batch_size=2, patch_size=[16, 28, 24][-dim:])
        configuration["architecture"]["arch_kwargs"].update(
            n_stages=3,
            features_per_stage=[8, 16, 16],
            kernel_sizes=[[3] * dim] * 3,
            strides=[[1] * dim, [2] * dim, [2] * dim],
            n_conv_per_stage_decoder=[1, 1],
            head_dim=32,
            head_heads=4,
            head_ffn=32,
            head_levels=[2, 1],
            fsad={"query_levels": [1, 2], "dim": 32, "heads": 4, "points": 2, "layers": 2, "ffn": 32, "dropout": 0.0},
            **{"n_blocks_per_stage" if residual else "n_conv_per_stage": [1, 1, 1]},
        )
    if lowres:
        fullres = plans["configurations"]["3d_fullres"]
        plans["configurations"]["3d_lowres"] = {
            **fullres,
            "data_identifier": fullres["data_identifier"].replace("3d_fullres", "3d_lowres"),
            "spacing": [1.5 * edge for edge in fullres["spacing"]],
            "next_stage": "3d_cascade_fullres",
        }
        plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    plans_file.write_text(json.dumps(plans))
