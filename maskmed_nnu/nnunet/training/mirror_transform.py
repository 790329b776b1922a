"""Mirroring of patches in which labels change places."""

from __future__ import annotations

from typing import Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor

from maskmed_nnu.nnunet.plans_handling.mirroring import Mirroring


class MirrorAndSwapTransform(MirrorTransform):
    """nnU-Net's, and every channel of the segmentation is relabelled as the mirror asks: the stage before, too."""

    def __init__(self, allowed_axes: tuple[int, ...], mirroring: Mirroring) -> None:
        super().__init__(allowed_axes)
        self.mirroring = mirroring

    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:
        return self.mirroring.relabel(super()._apply_to_segmentation(segmentation, **params), params["axes"])


def with_swaps(transforms: ComposeTransforms, mirroring: Mirroring) -> ComposeTransforms:
    """nnU-Net's training transforms, whose mirror then exchanges labels; the same object where none change places.

    The mirror stands before labels become regions or channels of the image.
    """
    if any(mirroring.swap.values()):
        transforms.transforms = [_swapping(one, mirroring) for one in transforms.transforms]
    return transforms


def _swapping(transform: BasicTransform, mirroring: Mirroring) -> BasicTransform:
    if type(transform) is MirrorTransform:
        return MirrorAndSwapTransform(tuple(transform.allowed_axes), mirroring)
    return transform
