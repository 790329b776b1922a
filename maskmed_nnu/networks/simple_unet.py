"""SimpleUNet and SimpleESKNet: one width at every scale, from 16 thousand parameters, in 2D and 3D.

After "SimpleUNet" (arXiv 2506.13415) and its released code, whose parameter counts these networks reproduce. Ours are
the third dimension, strides and kernels from nnU-Net's plan, and settings for what the paper leaves open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.simple_unet.fusion import Fusion
from maskmed_nnu.networks.layers.simple_unet.units import ConvUnit, ESKBlock
from maskmed_nnu.networks.layers.stored_numbers import STORED_PER_UNIT, stored_numbers


class FixedWidthUNet(nn.Module):
    """Base class of both networks; subclasses define the units.

    ``n_stages``, ``strides`` (of each stage, the first of ones) and ``conv_op`` are nnU-Net's. Every stage of the
    encoder has ``width`` channels: one unit at full resolution, then max-pooling and ``blocks_per_stage`` units each.
    A 1x1 unit selects the share ``selection_rate`` of the channels for each skip connection, and the decoder runs at
    that width (partial feature selection). ``fusion`` and ``adaptive_fusion``: see `Fusion`. ``head_norm`` puts a norm
    and a ReLU behind the 1x1 head, as the released code does.

    The image may have any size, odd edges included, that leaves two positions along each axis at the deepest scale, as
    norms need (one along an axis that is never halved). The output is logits
    ``[B, num_classes, *spatial]``; in training mode with ``deep_supervision`` one map for each scale of the decoder,
    the finest first, all from the same head, which adds no parameters.
    """

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        n_stages: int,
        strides: Sequence[Sequence[int]],
        conv_op: type[nn.Conv2d] | type[nn.Conv3d],
        norm_op: type[nn.Module],
        selection_rate: float,
        norm_op_kwargs: dict[str, Any] | None = None,
        width: int = 32,
        blocks_per_stage: int = 1,
        fusion: str = "concatenate",
        adaptive_fusion: bool = True,
        early_reduction: bool = False,
        head_norm: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        selected = int(selection_rate * width)
        if not 0 < selected <= width:
            raise InputError(
                f"The plans select {selection_rate} of {width} channels, which is {selected}; legal is a "
                "selection_rate above 0 and up to 1 that selects at least one channel."
            )
        self.input_channels, self.num_classes, self.deep_supervision = input_channels, num_classes, deep_supervision
        total = [math.prod(axis) for axis in zip(*strides, strict=True)]
        self.min_size = [2 * stride if stride > 1 else 1 for stride in total]
        self.early_reduction = early_reduction
        self.mode = "bilinear" if issubclass(conv_op, nn.Conv2d) else "trilinear"
        self.ops: dict[str, Any] = {"conv_op": conv_op, "norm_op": norm_op, "norm_op_kwargs": norm_op_kwargs or {}}
        pool = {nn.Conv2d: nn.MaxPool2d, nn.Conv3d: nn.MaxPool3d}[conv_op]
        deeper = range(1 + early_reduction, n_stages)
        last = n_stages - 1

        self.stem = self.stem_unit(width, int(early_reduction), strides[1] if early_reduction else 1)
        self.pools = nn.ModuleList(pool(tuple(strides[stage])) for stage in deeper)
        self.encoder = nn.ModuleList(self._stage(width, width, blocks_per_stage, stage) for stage in deeper)
        self.skips = nn.ModuleList(self.skip_unit(width, selected) for _ in deeper)
        self.bottleneck = self._stage(width, selected, blocks_per_stage, last)
        fusions = [Fusion(selected, kind=fusion, adaptive=adaptive_fusion, **self.ops) for _ in deeper]
        self.fusions = nn.ModuleList(fusions)
        self.decoder = nn.ModuleList(
            self._stage(fused.out_channels, selected, blocks_per_stage, stage - 1)
            for fused, stage in zip(fusions, deeper, strict=True)
        )
        logits = nn.Sequential(conv_op(selected, num_classes, 1, bias=not head_norm))
        if head_norm:
            logits.extend([norm_op(num_classes, **self.ops["norm_op_kwargs"]), nn.ReLU(inplace=True)])
        # what depends on the number of classes is called .seg_layers. for nnU-Net's loader of pretrained weights
        self.head = nn.ModuleDict({"seg_layers": logits})

    def stem_unit(self, out_channels: int, stage: int, stride: int | Sequence[int]) -> nn.Module:
        """The first unit: from the image to features at the resolution of ``stage``."""
        raise NotImplementedError

    def unit(self, in_channels: int, out_channels: int, stage: int) -> nn.Module:
        raise NotImplementedError

    def skip_unit(self, in_channels: int, out_channels: int) -> nn.Module:
        raise NotImplementedError

    def _stage(self, in_channels: int, out_channels: int, blocks: int, stage: int) -> nn.Sequential:
        return nn.Sequential(
            *[self.unit(in_channels if block == 0 else out_channels, out_channels, stage) for block in range(blocks)]
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        self._check_input(x)
        spatial = x.shape[2:]
        x = self.stem(x)
        skips = []
        for skip, pool, stage in zip(self.skips, self.pools, self.encoder, strict=True):
            skips.append(skip(x))
            x = stage(pool(x))
        x = self.bottleneck(x)
        scales = []
        for level in reversed(range(len(skips))):
            x = self.decoder[level](self.fusions[level](skips[level], x))
            scales.append(x)
        if not (self.training and self.deep_supervision):
            return self._upsample_to_image(self.head["seg_layers"](x), spatial)
        logits = [self.head["seg_layers"](scale) for scale in reversed(scales)]
        return [self._upsample_to_image(logits[0], spatial), *logits] if self.early_reduction else logits

    def _upsample_to_image(self, logits: Tensor, spatial: Sequence[int]) -> Tensor:
        if not self.early_reduction:
            return logits
        return F.interpolate(logits, size=spatial, mode=self.mode, align_corners=False)

    def _check_input(self, x: Tensor) -> None:
        if x.shape[1] != self.input_channels:
            raise InputError(
                f"The image has {x.shape[1]} channel(s), but the network was planned for {self.input_channels}; give "
                "one file per channel, in the order of channel_names in dataset.json."
            )
        if any(edge < minimum for edge, minimum in zip(x.shape[2:], self.min_size, strict=True)):
            raise InputError(
                f"The patch {tuple(x.shape[2:])} is too small for the deepest scale of the network: the edges "
                f"must be at least {tuple(self.min_size)} (patch_size in the plans)."
            )

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Numbers that a training step stores for one image, loss included, in nnU-Net's unit."""

        def dense(output: Tensor | list[Tensor]) -> Sequence[Tensor]:
            return output if isinstance(output, list) else [output]

        return stored_numbers(self, (self.input_channels, *input_size), logits=dense) // STORED_PER_UNIT


class SimpleUNet(FixedWidthUNet):
    """Units of convolution, norm and ReLU; 16,244 parameters at width 16 without adaptive fusion, with ``head_norm``.

    ``kernel_sizes`` (of each stage) are nnU-Net's. ``dilation`` is that of every kernel; ``operators``: see `ConvUnit`.
    ``early_reduction`` leaves the finest stage out: the first unit strides to the second one's resolution, and logits
    are upsampled at the end.
    """

    def __init__(
        self,
        *,
        kernel_sizes: Sequence[Sequence[int]],
        dilation: int = 1,
        operators: str = "dense",
        **shared_arguments: Any,
    ) -> None:
        if dilation < 1:
            raise InputError(f"The plans ask for a dilation of {dilation}; legal is 1 or more.")
        self.kernel_sizes, self.dilation, self.operators = kernel_sizes, dilation, operators
        super().__init__(**shared_arguments)

    def stem_unit(self, out_channels: int, stage: int, stride: int | Sequence[int]) -> ConvUnit:
        kernel = self.kernel_sizes[stage]
        return ConvUnit(self.input_channels, out_channels, kernel, dilation=self.dilation, stride=stride, **self.ops)

    def unit(self, in_channels: int, out_channels: int, stage: int) -> ConvUnit:
        kernel = self.kernel_sizes[stage]
        operators: dict[str, Any] = {"operators": self.operators, "dilation": self.dilation}
        return ConvUnit(in_channels, out_channels, kernel, **operators, **self.ops)

    def skip_unit(self, in_channels: int, out_channels: int) -> ConvUnit:
        return ConvUnit(in_channels, out_channels, [1] * len(self.min_size), **self.ops)


class SimpleESKNet(FixedWidthUNet):
    """The same network with an `ESKBlock` in place of every unit; 673 thousand parameters at width 32, two blocks."""

    def stem_unit(self, out_channels: int, stage: int, stride: int | Sequence[int]) -> ESKBlock:
        return ESKBlock(self.input_channels, out_channels, stride=stride, **self.ops)

    def unit(self, in_channels: int, out_channels: int, stage: int) -> ESKBlock:
        return ESKBlock(in_channels, out_channels, **self.ops)

    def skip_unit(self, in_channels: int, out_channels: int) -> ESKBlock:
        return ESKBlock(in_channels, out_channels, **self.ops)
