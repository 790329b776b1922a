"""What a loss divides its sums by under DDP."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def mean_over_ranks(number: Tensor, *, at_least: float = 1.0) -> Tensor:
    """The mean of what each process has counted, of a sum of ``at_least`` so much; alone, ``number`` itself.

    A process that divides its own sum by it has, after DDP has averaged the gradients, those of one process that sees
    the samples of all.
    """
    total = number.detach() if number.is_floating_point() else number.float()
    ranks = 1
    if dist.is_available() and dist.is_initialized():
        total = total.clone()
        dist.all_reduce(total)
        ranks = dist.get_world_size()
    return total.clamp(min=at_least) / ranks
