"""Augmentation of images whose labels are ids: nothing that mixes labels or is slow on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform

SCALE = (0.65, 1.5)
"""Factor on the pixel size: above 1 objects get smaller."""
SCALE_PROBABILITY = 0.5
OUTSIDE = -1


def initial_patch_size(patch_size: Sequence[int]) -> list[int]:
    """What the loader cuts out, so that the smallest scale still fills the patch with image; the margin is even.

    >>> initial_patch_size((256, 320))
    [384, 480]
    """
    return [int(edge) + 2 * ceil(int(edge) * (SCALE[1] - 1) / 2) for edge in patch_size]


class SymmetryTransform(BasicTransform):
    """One of the 8 mirrorings and quarter turns of a square, or one of the 4 mirrorings and half turns of a rectangle.

    The result may be a transposed view.
    """

    def __init__(self, patch_size: Sequence[int]) -> None:
        super().__init__()
        self.square = len(set(patch_size)) == 1

    def get_parameters(self, **data_dict: torch.Tensor) -> dict:
        chance = np.random.rand(3) < 0.5
        return {"flipped": [axis for axis in (-2, -1) if chance[axis]], "transposed": self.square and chance[0]}

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        if params["flipped"]:
            img = img.flip(params["flipped"])
        return img.transpose(-2, -1) if params["transposed"] else img

    _apply_to_segmentation = _apply_to_image


def training_transforms(patch_size: Sequence[int]) -> BasicTransform:
    """``image`` ``[C, *initial]`` float and ``segmentation`` ``[1 + L, *initial]`` int16 to ``patch_size``.

    nnU-Net's list for 2D with these differences: the spatial part is a change of scale, now and then, and the
    symmetries of the patch. There is no rotation by other angles: it would resample every sample and blur
    outlines. Ids are taken from the nearest pixel. What lies outside the image stays -1, because it is
    unknown rather than background. Nothing is made one-hot, or smaller for deep supervision.
    """
    patch_size = tuple(int(edge) for edge in patch_size)
    transforms: list[BasicTransform] = [
        SpatialTransform(
            patch_size,
            patch_center_dist_from_border=0,
            random_crop=False,
            p_scaling=SCALE_PROBABILITY,
            scaling=BGContrast(SCALE),
            p_synchronize_scaling_across_axes=1,
            mode_seg="nearest",
            border_mode_seg="constant",
            padding_value_seg=OUTSIDE,
        ),
    ]
    transforms += [RandomTransform(transform, probability) for transform, probability in _intensity_transforms()]
    # last, because a transposed view is slow to work on; the loader copies it into the batch in any case
    transforms.append(SymmetryTransform(patch_size))
    return ComposeTransforms(transforms)


def validation_transforms() -> BasicTransform:
    """None: the loader cuts out the patch, and the labels stay as they are."""
    return ComposeTransforms([])


def _intensity_transforms() -> list[tuple[BasicTransform, float]]:
    """nnU-Net's, each with the probability of being applied."""
    each_channel = {"synchronize_channels": False, "p_per_channel": 1}
    gamma = {**each_channel, "gamma": BGContrast((0.7, 1.5)), "p_retain_stats": 1}
    return [
        (GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
        (
            GaussianBlurTransform(
                blur_sigma=(0.5, 1.0), synchronize_channels=False, synchronize_axes=False, p_per_channel=0.5
            ),
            0.2,
        ),
        (MultiplicativeBrightnessTransform(multiplier_range=BGContrast((0.75, 1.25)), **each_channel), 0.15),
        (ContrastTransform(contrast_range=BGContrast((0.75, 1.25)), preserve_range=True, **each_channel), 0.15),
        (
            SimulateLowResolutionTransform(
                scale=(0.5, 1), synchronize_channels=False, synchronize_axes=True, ignore_axes=None, p_per_channel=0.5
            ),
            0.25,
        ),
        (GammaTransform(p_invert_image=1, **gamma), 0.1),
        (GammaTransform(p_invert_image=0, **gamma), 0.3),
    ]
