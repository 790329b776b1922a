"""Whether a network was trained at all."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def is_untrained(network: nn.Module) -> bool:
    """Whether all norms of ``network`` still have the weights 1 and biases 0 that they begin with.

    The first step of a training changes them; whether a network without such norms was trained, nobody can tell.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm)) and module.weight is not None
    ]
    return bool(norms) and all(
        bool((norm.weight == 1).all()) and (norm.bias is None or bool((norm.bias == 0).all())) for norm in norms
    )
