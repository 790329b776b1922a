"""Weighted sums of rows of a table, forward and backward in `embedding_bag`'s vectorised kernel.

torch's own backward pass adds one row of the gradient at a time; on a CPU it takes ten times as long as the forward
pass. The gradient of the table is the same kind of sum with bags and rows exchanged: for each row, the bags that it
belongs to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _WeightedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, index, weight)
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        rows, index, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        of_rows = _of_rows(grad, index, weight, len(rows)) if ctx.needs_input_grad[0] else None
        of_weight = _of_weight(grad, rows, index) if ctx.needs_input_grad[2] else None
        return of_rows, None, of_weight


def weighted_rows(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """``sum over s of weight[m, s] * rows[index[m, s]]``; ``rows [N, C]``, ``index`` and ``weight [M, S]`` give
    ``[M, C]``.

    Rows that do not lie one behind the other in memory are copied: read in place, they cost several times as much.
    """
    # torch gives apply no types
    result: Tensor = _WeightedRows.apply(rows.contiguous(), index, weight)  # type: ignore[no-untyped-call]
    return result


def _of_rows(grad: Tensor, index: Tensor, weight: Tensor, rows: int) -> Tensor:
    """Gradient ``[N, C]`` of the rows: for each the weighted sum of the gradients of its bags."""
    flat = index.flatten()
    order = flat.argsort(stable=True)
    ends = flat.new_zeros(rows).scatter_add_(0, flat.long(), torch.ones_like(flat)).cumsum(0, dtype=flat.dtype)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    bags = order.div(index.shape[1], rounding_mode="floor").to(flat.dtype)
    return F.embedding_bag(bags, grad, starts, mode="sum", per_sample_weights=weight.flatten()[order])


def _of_weight(grad: Tensor, rows: Tensor, index: Tensor) -> Tensor:
    """Gradient ``[M, S]`` of the weights: the product of each row with the gradient of its bag."""
    bags, size = index.shape
    starts = torch.arange(bags, device=index.device, dtype=index.dtype) * size
    bag = torch.arange(bags, device=index.device, dtype=index.dtype).repeat_interleave(size)
    per_sample: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad, rows, index.flatten(), starts, bag, 0, -1
    )
    return per_sample.view_as(index)
