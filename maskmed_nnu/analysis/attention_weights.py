"""The attention maps of MaskAttn-UNet: what one place attends to, and the mask of the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from maskmed_nnu.analysis.attention_maps import attention_modules
from maskmed_nnu.analysis.hooks import watch
from maskmed_nnu.analysis.patches import Patch
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MaskAttention


class AttentionWeights(NamedTuple):
    """Of one module; keys lie on a grid ``[h, w]`` over the patch."""

    attention: NDArray[np.float32]
    """``[heads, h, w]``: the weight of each key for the place, a sum of one for each head"""
    mask: NDArray[np.float32] | None
    """``[heads, h, w]``: how far the mask lets each key in, 1 being the most; None without a mask"""
    cell: NDArray[np.float64]
    """``[2]``: pixels (y, x) of a key"""
    asked_at: NDArray[np.float64]
    """``[2]``: the middle of the position that asks, in pixels (y, x) of the image within the patch"""
    offset: NDArray[np.int64]
    """``[2]``: pixels of the patch before the image's first"""

    def key_places(self) -> NDArray[np.float64]:
        """``[h, w, 2]``: the middle of each key, in pixels (y, x) of the image within the patch."""
        grid = np.stack(np.meshgrid(*map(np.arange, self.attention.shape[1:]), indexing="ij"), -1)
        places: NDArray[np.float64] = (grid + 0.5) * self.cell - 0.5 - self.offset
        return places

    def used_keys(self) -> float:
        """How many keys share the attention: the exponential of its entropy, a mean over the heads."""
        weights = self.attention.reshape(len(self.attention), -1).astype(np.float64)
        logs = np.log(weights, where=weights > 0, out=np.zeros_like(weights))
        return float(np.exp(-(weights * logs).sum(1)).mean())

    def reach(self) -> float:
        """Mean distance in pixels between the place and what it attends to."""
        distance = np.linalg.norm(self.key_places() - self.asked_at, axis=-1)
        return float((self.attention * distance).sum((1, 2)).mean())


def attention_weights(network: nn.Module, patch: Patch, place: Sequence[float]) -> dict[str, AttentionWeights]:
    """Of each `MaskAttention` module by its name, for ``place`` (y, x), a pixel of the image within ``patch``."""
    edges = np.array(patch.data.shape[1:])
    offset = np.array([part.start or 0 for part in patch.inside])
    found: dict[str, AttentionWeights] = {}

    def measure(name: str, module: MaskAttention, x: Tensor) -> None:
        shape = np.array(x.shape[2:])
        stride = edges / shape
        position = np.clip(((np.asarray(place) + offset + 0.5) / stride).astype(int), 0, shape - 1)
        pooled = module.pool(x)
        keys = tuple(pooled.shape[2:])
        weights = module.attention(x, int(np.ravel_multi_index(tuple(position), tuple(shape))))[0]
        bias = module.bias(pooled.flatten(2).mT)
        mask = None if bias is None else bias[0].exp().unflatten(-1, keys).float().cpu().numpy()
        found[name] = AttentionWeights(
            weights.unflatten(-1, keys).float().cpu().numpy(),
            mask,
            stride * module.key_stride,
            (position + 0.5) * stride - 0.5 - offset,
            offset,
        )

    watchers: dict[nn.Module, Any] = {
        module: lambda inputs, _output, name=name, module=module: measure(name, module, inputs[0])
        for name, module in attention_modules(network).items()
    }
    watch(network, watchers, patch.data)
    return found
