"""Losses are computed in float32 at least, whatever precision the network ran in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """In float32, or float64 if it already is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def no_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which operators on the tensor's device keep its precision."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)
