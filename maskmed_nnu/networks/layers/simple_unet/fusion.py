"""How a decoder stage of SimpleUNet fuses its skip connection with the features of the next coarser scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.errors import InputError

FUSIONS = ("concatenate", "add", "gate")


class Fusion(nn.Module):
    """``skip [B, s, *spatial]`` and ``coarse [B, s, *smaller]`` become ``[B, out_channels, *spatial]``.

    ``coarse`` is upsampled (linearly, corners aligned) to the skip's size, whatever that is. With ``adaptive`` (the
    paper's adaptive feature fusion) both are first weighted per channel, by weights that start at 1 and have no bounds.
    ``concatenate`` is the published way, ``add`` the sum, ``gate`` weighs each position of the skip by how well it
    agrees with the coarser features (attention gate, arXiv 1804.03999, with a norm in place of its biases) and
    concatenates.
    """

    def __init__(
        self,
        channels: int,
        *,
        kind: str,
        adaptive: bool,
        conv_op: type[nn.Module],
        norm_op: type[nn.Module],
        norm_op_kwargs: dict[str, Any],
    ) -> None:
        super().__init__()
        if kind not in FUSIONS:
            raise InputError(f"The plans ask for the fusion '{kind}'; legal are {', '.join(FUSIONS)}.")
        dims = 2 if issubclass(conv_op, nn.Conv2d) else 3
        self.kind, self.mode = kind, "bilinear" if dims == 2 else "trilinear"
        self.out_channels = channels if kind == "add" else 2 * channels
        self.alpha = nn.Parameter(torch.ones(channels, *[1] * dims)) if adaptive else None
        self.beta = nn.Parameter(torch.ones(channels, *[1] * dims)) if adaptive else None
        if kind == "gate":
            self.agreement = nn.Sequential(
                conv_op(2 * channels, channels, 1, bias=False),
                norm_op(channels, **norm_op_kwargs),
                nn.ReLU(inplace=True),
                conv_op(channels, 1, 1),
            )

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        if self.alpha is not None and self.beta is not None:
            # parameters are float32, and would turn half-precision maps into float32
            skip, coarse = self.alpha.to(skip.dtype) * skip, self.beta.to(coarse.dtype) * coarse
        coarse = F.interpolate(coarse, size=skip.shape[2:], mode=self.mode, align_corners=True)
        if self.kind == "add":
            return skip + coarse
        if self.kind == "gate":
            skip = skip * self.agreement(torch.cat((skip, coarse), 1)).sigmoid()
        return torch.cat((skip, coarse), 1)
