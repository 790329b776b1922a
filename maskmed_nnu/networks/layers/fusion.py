"""How a decoder stage of SimpleUNet joins its skip connection with what comes from below."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.errors import InputError

FUSIONS = ("concatenate", "add", "gate")


class Fusion(nn.Module):
    """``skip [B, s, *spatial]`` and ``below [B, s, *smaller]`` become ``[B, out_channels, *spatial]``.

    ``below`` is upsampled (linearly, corners aligned) to the skip's size, whatever that is. With ``adaptive`` (the
    paper's adaptive feature fusion) both are first weighted per channel, by weights that start at 1 and have no bounds.
    ``concatenate`` is the published way, ``add`` the sum, ``gate`` weighs each position of the skip by how well it
    agrees with what comes from below (attention gate, arXiv 1804.03999, with a norm in place of its biases) and
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

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        if self.alpha is not None and self.beta is not None:
            # parameters are float32, and would take half-precision maps along
            skip, below = self.alpha.to(skip.dtype) * skip, self.beta.to(below.dtype) * below
        below = F.interpolate(below, size=skip.shape[2:], mode=self.mode, align_corners=True)
        if self.kind == "add":
            return skip + below
        if self.kind == "gate":
            skip = skip * self.agreement(torch.cat((skip, below), 1)).sigmoid()
        return torch.cat((skip, below), 1)
