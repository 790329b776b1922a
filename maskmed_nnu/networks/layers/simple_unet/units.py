"""Units of the stages of SimpleUNet and SimpleESKNet; each maps ``[B, in, *spatial]`` into ``[B, out, …]``."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from maskmed_nnu.errors import InputError

OPERATORS = ("dense", "depthwise", "grouped")
GROUPS = 4


def same_padding(kernel: Sequence[int], dilation: int = 1) -> list[int]:
    """Pixels or voxels of padding along each axis with which a kernel of odd edges keeps the size of its input."""
    return [dilation * (edge - 1) // 2 for edge in kernel]


class ChannelShuffle(nn.Module):
    """Interleave the channels of ``groups`` groups, for the next grouped convolution to mix (arXiv 1707.01083)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, 1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class ConvUnit(nn.Sequential):
    """Convolution without bias, norm, ReLU.

    ``operators``: ``dense``, ``depthwise`` (a k x k convolution of each channel, then 1x1) or ``grouped`` (four groups,
    then a shuffle of the channels). A 1x1 kernel is always convolved densely.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        *,
        conv_op: type[nn.Module],
        norm_op: type[nn.Module],
        norm_op_kwargs: dict[str, Any],
        operators: str = "dense",
        dilation: int = 1,
        stride: int | Sequence[int] = 1,
    ) -> None:
        if operators not in OPERATORS:
            raise InputError(f"The plans ask for the operators '{operators}'; legal are {', '.join(OPERATORS)}.")
        spatial = {"padding": same_padding(kernel, dilation), "dilation": dilation, "stride": stride}
        groups = gcd(GROUPS, in_channels, out_channels) if operators == "grouped" else 1
        if operators == "depthwise" and max(kernel) > 1:
            convolution = [
                conv_op(in_channels, in_channels, kernel, groups=in_channels, bias=False, **spatial),
                conv_op(in_channels, out_channels, 1, bias=False),
            ]
        elif groups > 1 and max(kernel) > 1:
            convolution = [
                conv_op(in_channels, out_channels, kernel, groups=groups, bias=False, **spatial),
                ChannelShuffle(groups),
            ]
        else:
            convolution = [conv_op(in_channels, out_channels, kernel, bias=False, **spatial)]
        super().__init__(*convolution, norm_op(out_channels, **norm_op_kwargs), nn.ReLU(inplace=True))


class ESKBlock(nn.Module):
    """Enhanced selective kernel: two receptive fields, weighed against each other per channel and per pixel.

    As in the released code of SimpleUNet (arXiv 2506.13415): a 3x3 convolution, on it a dilated 3x3 and a 5x5 branch;
    a channel gate and a spatial gate each weigh the branches (one by g, the other by 1 - g); the four gated
    maps and the first one are merged by a 1x1 convolution. All convolutions have a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv_op: type[nn.Module],
        norm_op: type[nn.Module],
        norm_op_kwargs: dict[str, Any],
        stride: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        dims = 2 if issubclass(conv_op, nn.Conv2d) else 3

        def unit(channels: int, kernel: int, **spatial: Any) -> nn.Sequential:
            padding = spatial.get("dilation", 1) * (kernel - 1) // 2
            return nn.Sequential(
                conv_op(channels, out_channels, kernel, padding=padding, **spatial),
                norm_op(out_channels, **norm_op_kwargs),
                nn.LeakyReLU(inplace=True),
            )

        self.first = unit(in_channels, 3, stride=stride)
        self.dilated = unit(out_channels, 3, dilation=3)
        self.wide = unit(out_channels, 5)
        self.channel_gate = nn.Sequential(
            nn.Linear(2 * out_channels, out_channels), nn.ReLU(inplace=True), nn.Linear(out_channels, out_channels)
        )
        self.spatial_gate = conv_op(2 * out_channels, 1, 1)
        self.merge = unit(5 * out_channels, 1)
        self.spatial_axes = tuple(range(2, 2 + dims))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        dilated, wide = self.dilated(x), self.wide(x)
        both = torch.cat((wide, dilated), 1)
        channel = self.channel_gate(both.mean(self.spatial_axes)).sigmoid()
        channel = channel.view(*channel.shape, *[1] * len(self.spatial_axes))
        spatial = self.spatial_gate(both.relu()).sigmoid()
        gated = (dilated * channel, wide * (1 - channel), dilated * spatial, wide * (1 - spatial))
        merged: Tensor = self.merge(torch.cat((*gated, x), 1))
        return merged
