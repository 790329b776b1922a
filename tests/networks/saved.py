"""What autograd keeps between the forward and the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskmed_nnu.networks.layers.maskmed import deformable, deformable_grid


def kept_for_backward(network: nn.Module, image: Tensor) -> int:
    """Bytes of all distinct storages that a training step's forward pass saves, parameters left out."""
    return kept_by(lambda: network.train()(image), network)[0]


def kept_by(compute: Callable[[], Any], network: nn.Module) -> tuple[int, Any]:
    """Bytes of all distinct storages that ``compute`` saves, parameters of ``network`` left out, and its result."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    storages = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        output = compute()
    assert output is not None
    return sum(storage.nbytes() for storage in storages.values()), output


def use_form_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deformable attention on the CPU takes the form that it has on GPUs without Triton."""

    def projects_first(attention: deformable.DeformableAttention, value: Tensor, queries: int) -> bool:
        voxels, samples = math.prod(value.shape[1:-1]), attention.heads * attention.points
        sizes = {"queries": queries, "dim": attention.dim, "samples": samples}
        return not deformable.sampling_first_is_smaller(voxels, value.shape[-1], **sizes)

    monkeypatch.setattr(deformable, "attend", deformable_grid.attend)
    monkeypatch.setattr(deformable.DeformableAttention, "_projects_first", projects_first)
