"""From logits to labels on the image's grid, plane by plane.

The labels are those of nnU-Net's ``resample_torch_fornnunet`` and the argmax behind it. Of 60 classes in 512×512×300
voxels these need 19 GB for the resampled logits; a plane of them is 63 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.errors import InputError


class LabelPlanes:
    """Takes planes of logits in their order along ``axis``; ``labels`` [Z, Y, X], integers, are then complete.

    ``shape`` and ``spacing`` are those of the logits' grid, ``target_shape`` and ``target_spacing`` those of the image
    after cropping, all in the plan's order of axes.
    """

    def __init__(
        self,
        label_manager: Any,
        *,
        shape: Sequence[int],
        target_shape: Sequence[int],
        spacing: Sequence[float],
        target_spacing: Sequence[float],
        axis: int = 0,
    ) -> None:
        separate, coarse = determine_do_sep_z_and_axis(None, spacing, target_spacing)
        nearest = [separate and along == coarse for along in range(3)]
        self.label_manager, self.axis = label_manager, axis
        self.plane_shape = [int(edge) for along, edge in enumerate(target_shape) if along != axis]
        self.plane_nearest = [kind for along, kind in enumerate(nearest) if along != axis]
        self.sources = _sources(shape[axis], target_shape[axis], nearest=nearest[axis])
        many = len(label_manager.foreground_labels) > 254
        self.labels = torch.zeros([int(edge) for edge in target_shape], dtype=torch.int32 if many else torch.uint8)
        self.kept: dict[int, Tensor] = {}
        self.taken = self.made = 0

    @classmethod
    def of_image(
        cls, predicted: Any, properties: Mapping[str, Any], *, shape: Sequence[int], axis: int = 0
    ) -> LabelPlanes:
        """Of the image with nnU-Net's ``properties``; ``predicted`` has the plans, the configuration and the labels, as
        nnU-Net's predictor has."""
        own = [float(properties["spacing"][along]) for along in predicted.plans_manager.transpose_forward]
        planned = [float(edge) for edge in predicted.configuration_manager.spacing]
        return cls(
            predicted.label_manager,
            shape=shape,
            target_shape=properties["shape_after_cropping_and_before_resampling"],
            spacing=[*own[: 3 - len(planned)], *planned],
            target_spacing=own,
            axis=axis,
        )

    def add(self, logits: Tensor) -> None:
        """The next plane, ``[K, h, w]``.

        Raises:
            InputError: where its numbers are not finite.
        """
        self.kept[self.taken] = self._resize(logits.float())
        self.taken += 1
        while self.made < len(self.sources):
            below, above, share = self.sources[self.made]
            if above >= self.taken:
                break
            plane = self.kept[below] if below == above else torch.lerp(self.kept[below], self.kept[above], share)
            self.labels.select(self.axis, self.made).copy_(self._decide(plane))
            self.made += 1
        needed = self.sources[self.made][0] if self.made < len(self.sources) else self.taken
        self.kept = {index: plane for index, plane in self.kept.items() if index >= needed}

    def _resize(self, logits: Tensor) -> Tensor:
        rows, columns = self.plane_shape
        if not any(self.plane_nearest):
            return _interpolate(logits, (rows, columns), "bilinear")
        for size, kind in zip(((rows, logits.shape[2]), (rows, columns)), self.plane_nearest, strict=True):
            logits = _interpolate(logits, size, "nearest-exact" if kind else "bilinear")
        return logits

    def _decide(self, logits: Tensor) -> Tensor:
        """Labels ``[h, w]``."""
        best = logits.max(0)
        if not best.values.isfinite().all():
            raise InputError(
                "The logits of this image contain NaN or infinity; predict it with --device cpu, which does not "
                "use half precision, and check the image for extreme values."
            )
        if self.label_manager.has_regions:
            labels: Tensor = self.label_manager.convert_logits_to_segmentation(logits.cpu())
            return labels
        return best.indices


def labels_of_logits(predicted: Any, logits: np.ndarray | Tensor, properties: Mapping[str, Any]) -> np.ndarray:
    """Labels [Z, Y, X] of whole ``logits [K, z, y, x]``; see `LabelPlanes.of_image`."""
    planes = LabelPlanes.of_image(predicted, properties, shape=logits.shape[1:])
    for index in range(logits.shape[1]):
        planes.add(torch.as_tensor(logits[:, index]))
    return planes.labels.numpy()


def revert_cropping(predicted: Any, labels: np.ndarray, properties: Mapping[str, Any]) -> np.ndarray:
    """As nnU-Net's reader gave the image, from ``labels`` of its crop in the plan's order of axes."""
    dtype = np.uint8 if len(predicted.label_manager.foreground_labels) < 255 else np.uint16
    whole = np.zeros(properties["shape_before_cropping"], dtype)
    whole = insert_crop_into_image(whole, labels, properties["bbox_used_for_cropping"])
    return np.asarray(whole.transpose(predicted.plans_manager.transpose_backward))


def _interpolate(logits: Tensor, size: Sequence[int], mode: str) -> Tensor:
    if tuple(logits.shape[1:]) == tuple(size):
        return logits
    return F.interpolate(logits[None], tuple(size), mode=mode)[0]


def _sources(edge: int, target: int, *, nearest: bool) -> list[tuple[int, int, float]]:
    """For each plane of the target the two that it lies between, and the share of the second.

    >>> _sources(2, 4, nearest=False)
    [(0, 0, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.0)]
    >>> _sources(2, 3, nearest=True)
    [(0, 0, 0.0), (1, 1, 0.0), (1, 1, 0.0)]
    """
    places = torch.arange(edge, dtype=torch.float64)[None, None]
    if edge != target:  # torch's own rule of which position lies where
        places = F.interpolate(places, int(target), mode="nearest-exact" if nearest else "linear")
    return [(int(place), -int(-place // 1), place % 1) for place in places.flatten().tolist()]
