"""What autograd keeps between the forward and the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def kept_for_backward(network: nn.Module, image: Tensor) -> int:
    """Bytes of all distinct storages that a training step's forward pass saves, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    storages = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        output = network.train()(image)
    assert output is not None
    return sum(storage.nbytes() for storage in storages.values())
