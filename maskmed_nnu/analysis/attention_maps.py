"""Outputs of a network's attention modules for one patch of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from numpy.typing import NDArray
from torch import Tensor, nn

from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MaskAttention


def attention_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The `MaskAttention` modules of ``network`` by their names in it, in the order of registration."""
    return {name: module for name, module in network.named_modules() if isinstance(module, MaskAttention)}


def central_patch(data: NDArray[np.floating[Any]], patch_size: Sequence[int]) -> tuple[Tensor, bool]:
    """The middle ``[C, *patch_size]`` of ``data [C, Z, Y, X]``, of the middle slice where the patch is 2D.

    A smaller image has zeros around it, as nnU-Net predicts it; the second result says whether that is so.
    """
    image = torch.from_numpy(data[:, data.shape[1] // 2] if len(patch_size) == 2 else data)
    smaller = any(edge < size for edge, size in zip(image.shape[1:], patch_size, strict=True))
    padded = pad_nd_image(image, patch_size)
    starts = [(edge - size) // 2 for edge, size in zip(padded.shape[1:], patch_size, strict=True)]
    middle = [slice(start, start + size) for start, size in zip(starts, patch_size, strict=True)]
    return padded[(slice(None), *middle)].contiguous(), smaller


@torch.inference_mode()
def module_outputs(network: nn.Module, modules: dict[str, nn.Module], patch: Tensor) -> dict[str, NDArray[np.float32]]:
    """The output ``[C, *spatial]`` of each of ``modules`` for ``patch [C, *spatial]``, in float32."""
    outputs: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, output: Tensor) -> None:
        outputs[name] = output[0].float().cpu().numpy()

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name, module in modules.items()
    ]
    try:
        network(patch[None].to(next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
