"""What modules of a network are given and give, while it predicts one patch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


@torch.inference_mode()
def watch(
    network: nn.Module, watchers: Mapping[nn.Module, Callable[[tuple[Any, ...], Any], None]], patch: Tensor
) -> Any:
    """The output of ``network`` for ``patch [C, *spatial]``; a watcher is called with its module's inputs and output.

    The hooks are gone when this returns.
    """
    hooks = [
        module.register_forward_hook(lambda _module, inputs, output, watcher=watcher: watcher(inputs, output))
        for module, watcher in watchers.items()
    ]
    try:
        return network(patch[None].to(next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
