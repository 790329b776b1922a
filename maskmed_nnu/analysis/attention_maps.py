"""Outputs of a network's attention modules for one patch of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from maskmed_nnu.analysis.hooks import watch
from maskmed_nnu.analysis.patches import cut_patch
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MaskAttention


def attention_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The `MaskAttention` modules of ``network`` by their names in it, in the order of registration."""
    return {name: module for name, module in network.named_modules() if isinstance(module, MaskAttention)}


def central_patch(data: NDArray[np.floating[Any]], patch_size: Sequence[int]) -> tuple[Tensor, bool]:
    """The middle ``[C, *patch_size]`` of ``data [C, Z, Y, X]``, of the middle slice where the patch is 2D.

    A smaller image has zeros around it, as nnU-Net predicts it; the second result says whether that is so.
    """
    patch = cut_patch(data, patch_size)
    return patch.data, any(part != slice(0, size) for part, size in zip(patch.inside, patch_size, strict=True))


def module_outputs(network: nn.Module, modules: dict[str, nn.Module], patch: Tensor) -> dict[str, NDArray[np.float32]]:
    """The output ``[C, *spatial]`` of each of ``modules`` for ``patch [C, *spatial]``, in float32."""
    outputs: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, output: Tensor) -> None:
        outputs[name] = output[0].float().cpu().numpy()

    watchers: dict[nn.Module, Any] = {
        module: lambda _inputs, output, name=name: keep(name, output) for name, module in modules.items()
    }
    watch(network, watchers, patch)
    return outputs
