"""nnU-Net's encoders and decoder, with all scales returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
from torch import Tensor, nn


def build_encoder(
    *,
    input_channels: int,
    n_conv_per_stage: Sequence[int] | None = None,
    n_blocks_per_stage: Sequence[int] | None = None,
    **plan: Any,
) -> PlainConvEncoder | ResidualEncoder:
    """The encoder of nnU-Net's plan: plain with ``n_conv_per_stage``, residual with ``n_blocks_per_stage``.

    Raises
    ------
    ValueError
        If both of them are given, or neither.
    """
    if (n_conv_per_stage is None) == (n_blocks_per_stage is None):
        raise ValueError("Give either n_conv_per_stage (plain encoder) or n_blocks_per_stage (residual encoder).")
    if n_blocks_per_stage is None:
        encoder = PlainConvEncoder(input_channels, n_conv_per_stage=n_conv_per_stage, return_skips=True, **plan)
        encoder.apply(InitWeights_He(1e-2))
    else:
        encoder = ResidualEncoder(input_channels, n_blocks_per_stage=n_blocks_per_stage, return_skips=True, **plan)
        encoder.apply(InitWeights_He(1e-2))
        encoder.apply(init_last_bn_before_add_to_0)
    return encoder


class FeatureDecoder(UNetDecoder):  # type: ignore[misc]  # its library has no types
    """nnU-Net's decoder, which returns the features of its stages; its pixel-wise heads are applied separately."""

    def __init__(self, encoder: nn.Module, num_classes: int, n_conv_per_stage: Sequence[int]) -> None:
        super().__init__(encoder, num_classes, n_conv_per_stage, deep_supervision=True)
        for module in (self.stages, self.transpconvs, self.seg_layers):
            module.apply(InitWeights_He(1e-2))

    def forward(self, skips: Sequence[Tensor]) -> list[Tensor]:
        """``skips``: one ``[B, C_l, *shape_l]`` per encoder level, full resolution first; same shapes back."""
        x = skips[-1]
        features = [x]
        for skip, upsample, stage in zip(reversed(skips[:-1]), self.transpconvs, self.stages, strict=True):
            x = stage(torch.cat((upsample(x), skip), 1))
            features.append(x)
        return features[::-1]

    def pixel_logits(self, features: Sequence[Tensor], level: int) -> Tensor:
        """The pixel-wise head of one level, ``[B, K, *shape_level]``."""
        logits: Tensor = self.seg_layers[len(self.seg_layers) - 1 - level](features[level])
        return logits
