"""Pixel decoder of IAUNet: from the encoder's scales to the features for queries and masks.

"IAUNet: Instance-Aware U-Net" (arXiv 2508.01928): CoordConv, depthwise-separable residual blocks and
squeeze-and-excitation per scale, a mask branch beside them, one step of a feature pyramid to a quarter of the image.
How this version differs: the pyramid goes on to the finest scale that the masks need, at the width given for each, and
the normalisation is a setting, since batch norm needs larger batches than a volume of cells allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.dimensions import CONV, LINEAR, spatial_axes

Norm = Callable[[int], nn.Module]


class SeparableBlock(nn.Module):
    """Depthwise ``kernel``, pointwise, norm, ReLU; twice, with a skip connection."""

    def __init__(self, *, inputs: int, outputs: int, kernel: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_separable(inputs, outputs, kernel, norm), *_separable(outputs, outputs, kernel, norm)
        )
        self.skip = CONV[len(kernel)](inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x) + self.skip(x)
        return output


class SqueezeExcite(nn.Module):
    """Channel gates from the global average, "Squeeze-and-Excitation Networks" (arXiv 1709.01507)."""

    def __init__(self, *, channels: int, reduction: int = 2) -> None:
        super().__init__()
        hidden = channels // reduction
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.gate(x.mean(spatial_axes(x)))
        return x * gates.view(*gates.shape, *[1] * len(spatial_axes(x)))


class PixelDecoder(nn.Module):
    """``channels`` and ``kernels`` of the encoder's scales, finest first; ``width`` of the scales that queries read.

    ``levels`` scales, counted from the deepest, are decoded in full and read by the queries; the ``pyramid`` widths
    belong to the next finer ones, in the order deep to fine. A convolution spans one cell along an axis along which the
    encoder's does (slices that are far apart), and three along the others.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        kernels: Sequence[Sequence[int]],
        width: int,
        levels: int,
        pyramid: Sequence[int],
        norm: Norm,
    ) -> None:
        super().__init__()
        deepest_first = list(reversed(channels))
        sizes = [tuple(3 if edge > 1 else 1 for edge in kernel) for kernel in reversed(kernels)]
        conv = CONV[len(sizes[0])]
        self.width, self.pyramid = width, pyramid
        skips = [conv(c, width, 1) for c in deepest_first[:levels]]
        self.skips = nn.ModuleList(skips)
        for skip in skips:
            assert skip.bias is not None
            nn.init.normal_(skip.weight, std=0.01)
            nn.init.zeros_(skip.bias)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                SeparableBlock(
                    inputs=(width if i == 0 else 2 * width) + len(size), outputs=width, kernel=size, norm=norm
                ),
                SqueezeExcite(channels=width),
            )
            for i, size in enumerate(sizes[:levels])
        )
        self.mask_branch = nn.ModuleList(
            nn.Sequential(*_conv(width, width, size, norm), *_conv(width, width, size, norm)) for size in sizes[:levels]
        )
        finer = deepest_first[levels : levels + len(pyramid)]
        assert len(finer) == len(pyramid), "the encoder has no scale that fine"
        self.laterals = nn.ModuleList(
            nn.Sequential(conv(c, w, 1, bias=False), norm(w)) for c, w in zip(finer, pyramid, strict=True)
        )
        self.reductions = nn.ModuleList(
            conv(before, w, 1, bias=False) if before != w else nn.Identity()
            for before, w in zip([width, *pyramid[:-1]], pyramid, strict=True)
        )
        self.outputs = nn.ModuleList(
            nn.Sequential(*_conv(w, w, size, norm)) for w, size in zip(pyramid, sizes[levels:], strict=False)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """``features`` of the encoder, finest first.

        Returns the queries' memory, ``levels`` maps of ``width`` channels, and the pyramid's maps, deep to fine.
        """
        deepest_first = list(reversed(features))
        x = masks = None
        memory = []
        for skip, block, branch, feature in zip(self.skips, self.blocks, self.mask_branch, deepest_first, strict=False):
            lateral = skip(feature)
            if x is None or masks is None:
                x = block(_with_coordinates(lateral))
                masks = branch(x)
            else:
                x = _upsample(_with_coordinates(x), lateral)
                x = block(torch.cat((x, lateral), 1))
                masks = branch(_upsample(masks, x) + x)
            memory.append(masks)
        pyramid = []
        for lateral, reduce, output, feature in zip(
            self.laterals, self.reductions, self.outputs, deepest_first[len(self.skips) :], strict=False
        ):
            masks = output(lateral(feature) + _upsample(reduce(masks), feature))
            pyramid.append(masks)
        return memory, pyramid


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode=LINEAR[x.ndim - 2], align_corners=True)


def _with_coordinates(x: Tensor) -> Tensor:
    """CoordConv (arXiv 1807.03247): x, y and z in [-1, 1] as more channels, in front."""
    axes = (torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in x.shape[2:])
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])
    return torch.cat((coordinates.expand(x.shape[0], *coordinates.shape), x), 1)


def _conv(inputs: int, outputs: int, kernel: Sequence[int], norm: Norm) -> list[nn.Module]:
    conv = CONV[len(kernel)](inputs, outputs, kernel, padding=[edge // 2 for edge in kernel], bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, norm(outputs), nn.ReLU(inplace=True)]


def _separable(inputs: int, outputs: int, kernel: Sequence[int], norm: Norm) -> list[nn.Module]:
    conv, padding = CONV[len(kernel)], [edge // 2 for edge in kernel]
    return [
        conv(inputs, inputs, kernel, padding=padding, groups=inputs, bias=False),
        conv(inputs, outputs, 1, bias=False),
        norm(outputs),
        nn.ReLU(inplace=True),
    ]
