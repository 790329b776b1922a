"""Mirrored views of a semantic network, with partners such as left and right exchanged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

from maskmed_nnu.nnunet.plans_handling.mirroring import Mirroring, mirroring_of
from maskmed_nnu.nnunet.plans_handling.settings.mirroring import SECTION


class View(NamedTuple):
    """A mirror along ``axes`` of the patch, and the order that channels take in it; None: as they are."""

    axes: tuple[int, ...]
    inputs: list[int] | None
    outputs: list[int] | None


def view_axes(mirroring: Mirroring, axes: Sequence[int], labels: LabelManager) -> list[int]:
    """Of ``axes``, those of a trained model, the ones that the plans mirror and that turn no region into none."""
    heads = output_classes(labels)
    return [axis for axis in axes if axis in mirroring.axes and mirroring.order(heads, [axis]) is not None]


def output_classes(labels: LabelManager) -> list[Any]:
    """The label, or the set of labels, of each output channel."""
    return list(labels.foreground_regions if labels.has_regions else labels.all_labels)


def mirrored_views(
    mirroring: Mirroring, axes: Sequence[int], labels: LabelManager, *, channels: int, cascaded: bool
) -> list[View]:
    """Every combination of the `view_axes`.

    ``channels`` counts those of the input, of which a cascade's last ones are the labels of the stage before.
    """
    heads, allowed = output_classes(labels), view_axes(mirroring, axes, labels)
    stages = list(labels.foreground_labels) if cascaded else []
    first = channels - len(stages)
    views = []
    for number in range(1, len(allowed) + 1):
        for some in combinations(allowed, number):
            outputs = mirroring.order(heads, some)
            previous = mirroring.order(stages, some)
            assert outputs is not None and previous is not None, "each axis alone maps classes to classes"
            inputs = [*range(first), *(first + index for index in previous)]
            views.append(View(some, *(order if order != sorted(order) else None for order in (inputs, outputs))))
    return views


def planned_views(predictor: Any, channels: int) -> tuple[tuple[int, ...] | None, list[View]]:
    """What a semantic network's predictor averages: axes of mirrored tiles, None for none, and views of whole images.

    Where partners change places, each view of ours is one of nnU-Net's images without mirrored tiles.
    """
    configuration, trained = predictor.configuration_manager.configuration, predictor.allowed_mirroring_axes
    if not (predictor.use_mirroring and trained) or SECTION not in configuration:
        return trained, []
    labels = predictor.label_manager
    mirroring = mirroring_of(predictor.plans_manager.plans, configuration, labels)
    axes = view_axes(mirroring, trained, labels)
    if not any(mirroring.swap.get(axis) for axis in axes):
        return tuple(axes) or None, []
    cascaded = predictor.configuration_manager.previous_stage_name is not None
    return None, mirrored_views(mirroring, axes, labels, channels=channels, cascaded=cascaded)


def average_views(
    predict: Callable[[Tensor], Tensor], image: Tensor, views: Sequence[View], *, dimension: int
) -> Tensor:
    """The mean of what ``predict`` makes of ``image`` [C, Z, Y, X] and of its ``views``, brought back to the image.

    Whole images are mirrored, not patches of ``dimension`` axes: so the prediction of a mirrored image is the mirrored
    prediction to the last voxel, though nnU-Net's tiles and their weights are not symmetric. In float32, for in
    nnU-Net's float16 left and right are equal here and there.
    """
    total = predict(image).cpu().float()
    for view in views:
        axes = [axis - dimension for axis in view.axes]
        mirrored = torch.flip(image if view.inputs is None else image[view.inputs], axes)
        output = predict(mirrored).cpu()  # turned there channel by channel, for a GPU may have no room for two
        for channel, source in enumerate(view.outputs or range(len(output))):
            total[channel] += torch.flip(output[source], axes)
    return total.div_(len(views) + 1)


def wrap_mirrored_views(predictor_class: Any) -> None:
    """Wrap ``nnUNetPredictor``, once: nnU-Net's own method predicts whatever has no partners that change places."""
    stock = predictor_class.predict_sliding_window_return_logits
    if hasattr(stock, "exchanges_partners"):
        return

    @functools.wraps(stock)
    def predict_sliding_window_return_logits(self: Any, input_image: Tensor) -> Tensor:
        trained = self.allowed_mirroring_axes
        self.allowed_mirroring_axes, views = planned_views(self, len(input_image))
        try:
            if not views:
                return stock(self, input_image)
            dimension = len(self.configuration_manager.configuration["patch_size"])
            self.views = len(views) + 1
            return average_views(lambda image: stock(self, image), input_image, views, dimension=dimension)
        finally:
            self.allowed_mirroring_axes, self.views = trained, 1

    predict_sliding_window_return_logits.exchanges_partners = True  # type: ignore[attr-defined]
    predictor_class.predict_sliding_window_return_logits = predict_sliding_window_return_logits
