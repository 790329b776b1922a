"""Planners of SimpleUNet: nnU-Net's plan for its own network, with a network of a fixed width in its place.

The norm is nnU-Net's instance norm: its batches are small, for which a batch norm, as published, was clearly worse.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from maskmed_nnu.networks.simple_unet import SimpleESKNet, SimpleUNet
from maskmed_nnu.nnunet.experiment_planning.planners.pixelwise import PixelwisePlanner
from maskmed_nnu.nnunet.plans_handling.settings.simple_unet import (
    SECTION,
    SimpleUNetSettings,
    SimpleUNetTraining,
    SkeletonSettings,
)

SELECTION_RATE, PUBLISHED_SELECTION_RATE = 0.375, 0.5
"""On the hippocampus in 3D the smaller one was no worse, and it keeps width 32 below 1/40 of nnU-Net's parameters."""


class SimpleUNetPlanner(PixelwisePlanner):
    """Width 32, one block per stage; memory for nnU-Net's patches is more than enough."""

    network: ClassVar[type[nn.Module]] = SimpleUNet
    preset = SimpleUNetSettings.plan(selection_rate=SELECTION_RATE)
    section = SECTION
    learning_rate = SimpleUNetTraining.default("learning_rate")


class SimpleUNetPlanner16(SimpleUNetPlanner):
    """Width 16: the smallest of the published ones."""

    default_plans = "SimpleUNet16Plans"
    preset = SimpleUNetSettings.plan(width=16, selection_rate=PUBLISHED_SELECTION_RATE)


class SimpleUNetPlanner48(SimpleUNetPlanner):
    """Width 48."""

    default_plans = "SimpleUNet48Plans"
    preset = SimpleUNetSettings.plan(width=48, selection_rate=SELECTION_RATE)


class SimpleUNetPlannerESK(SimpleUNetPlanner):
    """SimpleESKNet of width 32 with two blocks per stage, the published SimpleESKNet2+AFF_32; it has own kernels."""

    network = SimpleESKNet
    nnunet_arguments = tuple(name for name in PixelwisePlanner.nnunet_arguments if name != "kernel_sizes")
    default_plans = "SimpleUNetESKPlans"
    preset = SkeletonSettings.plan(blocks_per_stage=2, selection_rate=PUBLISHED_SELECTION_RATE)
