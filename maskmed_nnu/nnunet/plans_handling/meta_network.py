"""Networks that plans describe, built without memory, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def meta_network(
    class_name: str, arch_kwargs: dict, requires_import: Sequence[str], input_channels: int, output_channels: int
) -> nn.Module:
    """The network that plans describe, on the meta device."""
    with torch.device("meta"):
        return get_network_from_plans(
            class_name, arch_kwargs, requires_import, input_channels, output_channels, allow_init=False
        )


def feature_map_size(network: Any, patch: Sequence[int]) -> float:
    """nnU-Net's measure of memory, a method of its networks and of ours."""
    return network.compute_conv_feature_map_size(tuple(int(edge) for edge in patch))


def cost(network: nn.Module, channels: int, patch: Sequence[int]) -> tuple[int, float]:
    """Parameters, and multiplications in one forward pass over a patch, of a network on the meta device."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, channels, *patch))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() / 2
