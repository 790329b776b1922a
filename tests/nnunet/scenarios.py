"""Kinds of semantic data sets to train on, and the targets that nnU-Net's loaders deliver of them."""

from __future__ import annotations

import torch
from torch import Tensor

from maskmed_nnu.nnunet.training.trainers.base import PluginTrainer

REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
SCENARIOS = {
    "labels": {},
    "ignore": {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}},
    "regions": REGIONS,
    "regions_ignore": {**REGIONS, "labels": {**REGIONS["labels"], "ignore": 3}},
}
"""What the fixture ``make_planner`` is given."""


def loaded_target(trainer: PluginTrainer, labels: Tensor) -> Tensor | list[Tensor]:
    """``labels [B, 1, *patch]`` as they are or as stacks of regions, and over scales where those are supervised."""
    manager, target = trainer.label_manager, labels
    if manager.has_regions:
        channels = [torch.isin(labels, torch.tensor(region)) for region in manager.foreground_regions]
        channels += [labels == manager.ignore_label] if manager.has_ignore_label else []
        target = torch.cat(channels, 1)
    scales = trainer._get_deep_supervision_scales()
    if scales is None:
        return target
    return [target[(..., *(slice(None, None, round(1 / step)) for step in scale))] for scale in scales]
