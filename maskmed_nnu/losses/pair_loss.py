"""BCE and Dice loss of matched masks in one differentiable step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def chunk_size(device: torch.device) -> int:
    """Elements to process at a time: as many as fit a cache on the CPU; few kernels and bounded memory elsewhere."""
    return 2**19 if device.type == "cpu" else 2**24


def log_sigmoid_sum(sigmoid: Tensor, weight: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Sum over the last axis of ``log(sigmoid(|x|))``, from ``sigmoid [..., P]`` of ``x``.

    ``softplus(x) = relu(x) - log(sigmoid(|x|))``. Points where ``weight``, bool, is False count as 0. ``out`` has the
    shape of ``sigmoid`` and is overwritten. One logarithm is taken of the product of sixteen numbers between 0.5 and 1:
    logarithms of all of them cost a fifth of matching and loss on the CPU.
    """
    product = torch.sub(sigmoid, 0.5, out=out).abs_().add_(0.5)
    if weight is not None:
        product.masked_fill_(~weight, 1.0)
    for _ in range(4):
        half = product.shape[-1] // 2
        first, second, odd = product.split([half, half, product.shape[-1] - 2 * half], -1)
        product = first.mul_(second) if odd.shape[-1] == 0 else torch.cat([first.mul_(second), odd], -1)
    return product.log_().sum(-1)


class _PairLoss(torch.autograd.Function):
    """Stores the sigmoid and the boolean masks for the gradient; autograd would store several full-size floats."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, masks: Tensor, weight: Tensor | None, overwrite: bool
    ) -> tuple[Tensor, Tensor]:
        pairs, layers, points = logits.shape
        sigmoid = logits.detach() if overwrite else torch.empty_like(logits)
        bce, overlap, size = logits.new_empty(3, pairs, layers)
        for part, work in _chunks(logits):
            truth = masks[part, None].to(logits.dtype)
            counted = None if weight is None else weight[part, None]
            relu = torch.clamp(logits[part], min=0, out=work)
            if counted is not None:
                relu.mul_(counted)
            bce[part] = relu.addcmul_(logits[part], truth, value=-1).sum(-1)
            torch.sigmoid(logits[part], out=sigmoid[part])  # takes the place of the logits, or not
            bce[part] -= log_sigmoid_sum(sigmoid[part], counted, out=work)
            size[part] = truth.sum(-1) + 1
            if counted is None:
                size[part] += sigmoid[part].sum(-1)
            else:
                size[part] += (sigmoid[part] * counted).sum(-1)
            overlap[part] = 2 * torch.mul(sigmoid[part], truth, out=work).sum(-1) + 1
        counts = logits.new_full((pairs, 1), points) if weight is None else weight.sum(1, keepdim=True).clamp(min=1)
        ctx.save_for_backward(sigmoid, masks, weight, counts, overlap, size)
        return bce / counts, 1 - overlap / size

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_bce: Tensor, grad_dice: Tensor) -> tuple[Tensor, None, None, None]:
        sigmoid, masks, weight, counts, overlap, size = ctx.saved_tensors
        outside = (grad_dice * overlap / size**2)[..., None]
        inside = (-2 * grad_dice / size)[..., None]
        scale = (grad_bce / counts)[..., None]
        # the gradient takes the place of the sigmoid: first use of as much memory costs a tenth of the loss on the CPU
        grad = torch.empty_like(sigmoid) if _graph_is_kept() else sigmoid
        for part, work in _chunks(sigmoid):
            truth = masks[part, None].to(sigmoid.dtype)
            slope = torch.mul(inside[part], truth, out=work).add_(outside[part]).mul_(sigmoid[part])
            slope.addcmul_(slope, sigmoid[part], value=-1)
            torch.sub(sigmoid[part], truth, out=grad[part])
            grad[part].mul_(scale[part]).add_(slope)
            if weight is not None:
                grad[part].mul_(weight[part, None])
        return grad, None, None, None


def _graph_is_kept() -> bool:
    """Whether the running backward pass may be followed by another one (``retain_graph``); torch has no public word."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if ask is None else bool(ask())


def pair_loss(
    logits: Tensor, masks: Tensor, weight: Tensor | None, *, overwrite: bool = False
) -> tuple[Tensor, Tensor]:
    """BCE, mean over the points, and 1 - Dice with smoothing 1, each ``[B, T, L]``.

    ``logits [B, T, L, P]`` of ``L`` layers for one target; ``masks [B, T, P]`` bool, False where a point does not
    count; ``weight [B, P]`` bool, None if every point counts. ``overwrite``: nothing else needs the logits, not even
    the gradient of what made them, so their memory is used.
    """
    targets = masks.shape[1]
    if weight is not None:
        weight = weight[:, None].expand_as(masks).flatten(0, 1)
    # torch gives apply no types
    bce, dice = _PairLoss.apply(logits.flatten(0, 1), masks.flatten(0, 1), weight, overwrite)  # type: ignore[no-untyped-call]
    return bce.unflatten(0, (-1, targets)), dice.unflatten(0, (-1, targets))


def _chunks(logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Pairs to process at a time, and a buffer for them."""
    pairs, layers, points = logits.shape
    step = max(1, chunk_size(logits.device) // (layers * points))
    buffer = torch.empty_like(logits[:step])
    for start in range(0, pairs, step):
        yield slice(start, start + step), buffer[: pairs - start]
