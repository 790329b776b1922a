"""Augmentation of images whose labels are ids: nothing that mixes labels or is slow on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import permutations
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
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.configuration import ANISO_THRESHOLD

SCALE = (0.65, 1.5)
"""Factor on the pixel size: above 1 objects get smaller."""
SCALE_PROBABILITY = 0.5
BLUR_SIGMA, NO_BLUR, BLUR_REACH = (0.5, 1.0), 0.01, 6
"""Pixels; nnU-Net's sigma, one whose kernel is a single pixel, and how far the widest kernel reaches."""
OUTSIDE = -1
EQUAL_SPACING = 1.1
"""Spacings that differ by less are alike to the eye: an object may be turned from one axis to the other."""


def in_plane_only(spacing: Sequence[float]) -> bool:
    """Whether slices are so thick, by nnU-Net's measure, that nothing is interpolated between them.

    >>> in_plane_only((5, 1, 1)), in_plane_only((2, 1, 1)), in_plane_only((1, 1))
    (True, False, False)
    """
    return len(spacing) > 2 and spacing[0] > ANISO_THRESHOLD * max(spacing[1:])


def initial_patch_size(patch_size: Sequence[int], spacing: Sequence[float]) -> list[int]:
    """What the loader cuts out, so that the smallest scale still fills the patch with image; the margin is even.

    >>> initial_patch_size((256, 320), (1, 1)), initial_patch_size((20, 64, 64), (5, 1, 1))
    ([384, 480], [20, 96, 96])
    """
    scaled = [int(edge) + 2 * ceil(int(edge) * (SCALE[1] - 1) / 2) for edge in patch_size]
    return [int(patch_size[0]), *scaled[1:]] if in_plane_only(spacing) else scaled


class SymmetryTransform(BasicTransform):
    """One of the symmetries of a patch: any axes are mirrored, and axes of the same length and spacing swapped.

    These are 8 of a square, 4 of a rectangle, 48 of a cube, 16 of a square of thick slices. The result may be a
    transposed view.
    """

    def __init__(self, patch_size: Sequence[int], spacing: Sequence[float]) -> None:
        super().__init__()
        axes = range(len(patch_size))
        self.orders = [
            order
            for order in permutations(reversed(axes))
            if all(
                patch_size[a] == patch_size[b]
                and max(spacing[a], spacing[b]) < EQUAL_SPACING * min(spacing[a], spacing[b])
                for a, b in zip(axes, order, strict=True)
            )
        ]

    def get_parameters(self, **data_dict: torch.Tensor) -> dict:
        dim = len(self.orders[0])
        chance = np.random.rand(1 + dim)
        order = self.orders[int(chance[0] * len(self.orders))]
        return {
            "flipped": [axis for axis in range(-dim, 0) if chance[axis] < 0.5],
            "order": (0, *(1 + axis for axis in order)),
        }

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        if params["flipped"]:
            img = img.flip(params["flipped"])
        return img.permute(params["order"])

    _apply_to_segmentation = _apply_to_image


def training_transforms(patch_size: Sequence[int], spacing: Sequence[float]) -> BasicTransform:
    """``image`` ``[C, *initial]`` float and ``segmentation`` ``[1 + L, *initial]`` int16 to ``patch_size``, whose
    pixels or voxels have this ``spacing``.

    nnU-Net's list with these differences: the spatial part is a change of scale, now and then, and the
    symmetries of the patch. There is no rotation by other angles: it would resample every sample and blur
    outlines. Ids are taken from the nearest pixel. What lies outside the image stays -1, because it is
    unknown rather than background. Nothing is made one-hot, or smaller for deep supervision. Thick slices are scaled
    and blurred one by one, as in nnU-Net.
    """
    patch_size = tuple(int(edge) for edge in patch_size)
    flat = in_plane_only(spacing)
    transforms: list[BasicTransform] = [
        *([Convert3DTo2DTransform()] if flat else []),
        SpatialTransform(
            patch_size[1:] if flat else patch_size,
            patch_center_dist_from_border=0,
            random_crop=False,
            p_scaling=SCALE_PROBABILITY,
            scaling=BGContrast(SCALE),
            p_synchronize_scaling_across_axes=1,
            mode_seg="nearest",
            border_mode_seg="constant",
            padding_value_seg=OUTSIDE,
        ),
        *([Convert2DTo3DTransform()] if flat else []),
    ]
    # a kernel is as wide as that, and nothing is mirrored into it beyond the other border
    still = (0,) if flat or patch_size[0] <= BLUR_REACH else ()
    intensity = _intensity_transforms(still)
    transforms += [RandomTransform(transform, probability) for transform, probability in intensity]
    # last, because a transposed view is slow to work on; the loader copies it into the batch in any case
    transforms.append(SymmetryTransform(patch_size, spacing))
    return ComposeTransforms(transforms)


def validation_transforms() -> BasicTransform:
    """None: the loader cuts out the patch, and the labels stay as they are."""
    return ComposeTransforms([])


def _intensity_transforms(still: tuple[int, ...]) -> list[tuple[BasicTransform, float]]:
    """nnU-Net's, each with the probability of being applied; along the axes ``still`` resolution is not lowered."""
    each_channel = {"synchronize_channels": False, "p_per_channel": 1}
    gamma = {**each_channel, "gamma": BGContrast((0.7, 1.5)), "p_retain_stats": 1}
    return [
        (GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
        (
            GaussianBlurTransform(
                blur_sigma=partial(_draw_sigma, still),
                synchronize_channels=False,
                synchronize_axes=False,
                p_per_channel=0.5,
            ),
            0.2,
        ),
        (MultiplicativeBrightnessTransform(multiplier_range=BGContrast((0.75, 1.25)), **each_channel), 0.15),
        (ContrastTransform(contrast_range=BGContrast((0.75, 1.25)), preserve_range=True, **each_channel), 0.15),
        (
            SimulateLowResolutionTransform(
                scale=(0.5, 1),
                synchronize_channels=False,
                synchronize_axes=True,
                ignore_axes=still or None,
                p_per_channel=0.5,
            ),
            0.25,
        ),
        (GammaTransform(p_invert_image=1, **gamma), 0.1),
        (GammaTransform(p_invert_image=0, **gamma), 0.3),
    ]


def _draw_sigma(still: tuple[int, ...], shape: Sequence[int], *, dim: int) -> float:
    """Of the spatial axis ``dim``, from 1 on, as nnU-Net's transform asks."""
    return NO_BLUR if dim - 1 in still else float(np.random.uniform(*BLUR_SIGMA))
