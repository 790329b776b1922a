"""Mirrored views of a semantic network, with partners such as left and right exchanged."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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


def mirrored_views(
    mirroring: Mirroring, axes: Sequence[int], labels: LabelManager, *, channels: int, cascaded: bool
) -> list[View]:
    """Every combination of ``axes``, those of a trained model, but of an axis that turns a region into none.

    ``channels`` counts those of the input, of which a cascade's last ones are the labels of the stage before.
    """
    heads = list(labels.foreground_regions if labels.has_regions else labels.all_labels)
    allowed = [axis for axis in axes if axis in mirroring.axes and mirroring.order(heads, [axis]) is not None]
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


def average_views(network: Any, image: Tensor, views: Sequence[View]) -> Tensor:
    """The mean output [B, K, *patch] of ``image`` [B, C, *patch] and its ``views``, brought back to the image."""
    total: Tensor = network(image)
    for view in views:
        axes = [axis + 2 for axis in view.axes]
        mirrored = torch.flip(image if view.inputs is None else image[:, view.inputs], axes)
        output = torch.flip(network(mirrored), axes)
        total += output if view.outputs is None else output[:, view.outputs]
    return total / (len(views) + 1)


def wrap_mirrored_views(predictor_class: Any) -> None:
    """Wrap ``nnUNetPredictor``, once: models whose plans do not speak of mirroring are predicted as ever."""
    stock = predictor_class._internal_maybe_mirror_and_predict
    if hasattr(stock, "__wrapped__"):
        return

    @functools.wraps(stock)
    def _internal_maybe_mirror_and_predict(self: Any, x: Tensor) -> Tensor:
        axes = self.allowed_mirroring_axes
        if not self.use_mirroring or not axes or SECTION not in self.configuration_manager.configuration:
            return stock(self, x)
        with torch.inference_mode():
            return average_views(self.network, x, views_of(self, channels=x.shape[1]))

    predictor_class._internal_maybe_mirror_and_predict = _internal_maybe_mirror_and_predict


def views_of(predictor: Any, *, channels: int) -> list[View]:
    """Those of nnU-Net's predictor, whose model was trained with ``allowed_mirroring_axes``.

    Raises
    ------
    InputError
        As `mirroring_of`.
    """
    configuration = predictor.configuration_manager
    return mirrored_views(
        mirroring_of(predictor.plans_manager.plans, configuration.configuration, predictor.label_manager),
        predictor.allowed_mirroring_axes,
        predictor.label_manager,
        channels=channels,
        cascaded=configuration.previous_stage_name is not None,
    )
