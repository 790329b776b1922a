"""Image encoders: nnU-Net's from its plan, or one of timm's by name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pickle import UnpicklingError
from typing import Any

from torch import Tensor, nn

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.unet import build_encoder


class PlannedBackbone(nn.Module):
    """nnU-Net's encoder; ``channels``, ``kernels`` and ``strides`` of the scales, full resolution first.

    A stride is relative to the image and, as a kernel, a number for each axis.
    """

    def __init__(self, *, input_channels: int, **plan: Any) -> None:
        super().__init__()
        self.encoder = build_encoder(input_channels=input_channels, **plan)
        self.channels: list[int] = list(self.encoder.output_channels)
        self.strides = [tuple(stride) for stride in itertools.accumulate(self.encoder.strides, _product)]
        dim = len(self.strides[0])
        self.kernels = [
            (kernel,) * dim if isinstance(kernel, int) else tuple(kernel) for kernel in self.encoder.kernel_sizes
        ]

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.encoder(image)
        return features


class TimmBackbone(nn.Module):
    """``name`` is any of timm's models that gives a pyramid of features, ``weights`` a file with its weights; 2D."""

    def __init__(self, *, name: str, input_channels: int, weights: str | None = None) -> None:
        super().__init__()
        self.input_channels = input_channels
        self.model = _create_model(name, input_channels, weights)
        info: Any = self.model.feature_info
        self.channels: list[int] = list(info.channels())
        self.strides: list[tuple[int, ...]] = [(stride, stride) for stride in info.reduction()]
        self.kernels: list[tuple[int, ...]] = [(3, 3) for _ in self.strides]
        # Swin and its relatives
        self.channels_last = self.model.output_fmt == "NHWC"

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.model(image)
        return [f.permute(0, 3, 1, 2).contiguous() for f in features] if self.channels_last else features


def _product(stride: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [edge * step for edge, step in zip(stride, steps, strict=True)]


def _create_model(name: str, input_channels: int, weights: str | None) -> nn.Module:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"The backbone '{name}' needs timm, which cannot be imported ({error}): install timm and the torchvision "
            "release made for your torch, from the same index."
        ) from error
    if not timm.is_model(name):
        similar = timm.list_models(f"*{name.split('.')[0][:6]}*")[:5] or ["resnet50", "swin_small_patch4_window7_224"]
        raise InputError(f"timm has no model '{name}'; models with a similar name are {', '.join(similar)}.")
    settings: dict[str, Any] = {"features_only": True, "in_chans": input_channels}
    model = timm.create_model(name, **settings)
    info: Any = model.feature_info
    strides = info.reduction()
    if sorted(set(strides)) != strides:
        raise InputError(
            f"The backbone '{name}' does not give a pyramid of features, but maps of the strides {strides}; take a "
            "ResNet, ConvNeXt or Swin."
        )
    if any(getattr(part, "strict_img_size", False) for part in model.modules()):
        settings["strict_img_size"] = False  # Swin takes any image that its strides divide only with this option
        model = timm.create_model(name, **settings)
    if weights is None:
        return model
    state = _load_weights(weights)
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **settings)
        # timm does not report missing weights; its wrapper writes a block's number after an underscore
        given = {key.replace(".", "_") for key in state}
        missing = [key for key, _ in model.named_parameters() if key.replace(".", "_") not in given]
        problem = f"{missing[0]} is missing" if missing else ""
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
    if problem:
        raise InputError(
            f"The file '{weights}' holds other weights than those of timm's '{name}' ({problem}); give the state dict "
            "of that model as backbone_weights."
        )
    return model


def _load_weights(weights: str) -> dict[str, Tensor]:
    import timm

    try:
        return timm.models.load_state_dict(weights, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(
            f"The plans ask for the weights '{weights}' of the backbone, but there is no such file; correct "
            "backbone_weights in the plans, or set it to null if a trained checkpoint is loaded anyway."
        ) from error
    except (RuntimeError, UnpicklingError, AttributeError, EOFError) as error:
        raise InputError(
            f"The file '{weights}' is not a state dict that can be loaded safely; give one written by torch.save, of "
            "tensors only, or a safetensors file."
        ) from error
