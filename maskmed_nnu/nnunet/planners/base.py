"""What our planners share: our preprocessor in the place of nnU-Net's default, and networks that take no memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PREPROCESSOR = "MaskMedPreprocessor"


def checked_preprocessor(name: str) -> str:
    """`name`, or ours: nnU-Net's command line always passes a name, and what the user chose is not its default."""
    if name != "DefaultPreprocessor":
        return name
    print(f"Preprocessor: {PREPROCESSOR}, which is nnU-Net's DefaultPreprocessor with a check of every case.")
    return PREPROCESSOR


def meta_network(
    class_name: str, arch_kwargs: dict, requires_import: Sequence[str], input_channels: int, output_channels: int
) -> nn.Module:
    """The network that plans describe, on the meta device."""
    with torch.device("meta"):
        return get_network_from_plans(
            class_name, arch_kwargs, requires_import, input_channels, output_channels, allow_init=False
        )


def cost(network: nn.Module, channels: int, patch: Sequence[int]) -> tuple[int, float]:
    """Parameters, and multiplications in one forward pass over a patch, of a network on the meta device."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, channels, *patch))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() / 2
