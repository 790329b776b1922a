"""Image encoders: nnU-Net's from its plan, or one of timm's by name."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.unet import build_encoder


class PlannedBackbone(nn.Module):
    """nnU-Net's encoder; ``channels`` and ``strides`` (relative to the image) of the scales, full resolution first."""

    def __init__(self, *, input_channels: int, **plan: Any) -> None:
        super().__init__()
        self.encoder = build_encoder(input_channels=input_channels, **plan)
        self.channels = list(self.encoder.output_channels)
        self.strides, stride = [], 1
        for steps in self.encoder.strides:
            if len(set(steps)) > 1:
                raise InputError(f"The plan's stride {list(steps)} differs between the axes; give one number for all.")
            stride *= steps[0]
            self.strides.append(stride)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.encoder(image)

    def compute_conv_feature_map_size(self, input_size: tuple[int, ...]) -> int:
        return int(self.encoder.compute_conv_feature_map_size(input_size))


class TimmBackbone(nn.Module):
    """``name`` is any of timm's models that gives a pyramid of features, ``weights`` a file with its weights."""

    def __init__(self, *, name: str, input_channels: int, weights: str | None = None, **settings: Any) -> None:
        super().__init__()
        self.model = _create(name, input_channels, weights, settings)
        self.channels = list(self.model.feature_info.channels())
        self.strides = list(self.model.feature_info.reduction())

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.model(image)
        # Swin and its relatives put the channels last
        return [
            f if f.shape[1] == c else f.permute(0, 3, 1, 2).contiguous()
            for f, c in zip(features, self.channels, strict=True)
        ]

    def compute_conv_feature_map_size(self, input_size: tuple[int, ...]) -> int:
        """An estimate: a residual block keeps some eight maps of its scale's width."""
        height, width = input_size
        return sum(8 * c * (height // s) * (width // s) for c, s in zip(self.channels, self.strides, strict=True))


def _create(name: str, input_channels: int, weights: str | None, settings: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"The backbone '{name}' needs timm, which cannot be imported ({error}): install timm and the torchvision "
            "release made for your torch, from the same index."
        ) from error
    if not timm.is_model(name):
        near = (
            ", ".join(timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]) or "resnet50, swin_small_patch4_window7_224"
        )
        raise InputError(f"timm has no model '{name}'; models with a similar name are {near}.")
    overlay = {"file": weights} if weights is not None else None
    return timm.create_model(
        name,
        pretrained=weights is not None,
        pretrained_cfg_overlay=overlay,
        features_only=True,
        in_chans=input_channels,
        **settings,
    )
