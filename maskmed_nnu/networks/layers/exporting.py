"""What graphs for other programs compute in another way than PyTorch does."""

from __future__ import annotations

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether such a graph is traced; torch 2.6 does not tell that from its own compilation."""
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def sigmoid(x: Tensor) -> Tensor:
    """With a small relative error. onnxruntime's own is right to seven digits behind the point, which leaves two
    of a probability of 1e-5, whose logarithm is the network's output."""
    return (1 + (-x).exp()).reciprocal() if is_exporting() else x.sigmoid()
