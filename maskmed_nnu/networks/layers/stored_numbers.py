"""What a training step stores for the backward pass, counted on tensors without data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

STORED_PER_UNIT = 2
"""nnU-Net counts one number per output of a convolution; its own networks store two for each with their loss: what the
convolution takes, and what the norm behind it takes."""


def stored_numbers(
    network: nn.Module, image: Sequence[int], *, logits: Callable[[Any], Sequence[Tensor]] = lambda output: ()
) -> int:
    """Numbers that autograd keeps of one ``image`` [C, *spatial], in distinct storages, parameters left out.

    ``logits`` are those of the network's output that have nnU-Net's loss, which is counted, too: of each class the
    probability, its logarithm and the truth, and the label. Attention is counted as fused kernels store it, and what
    has a form for GPUs in that form, for nnU-Net plans for them.
    """
    network = copy.deepcopy(network).to("meta", torch.float32).train()
    parameters = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    stored: dict[int, torch.UntypedStorage] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            stored[storage._cdata] = storage  # keeps a reference, so that no address is reused
        return tensor

    images = torch.empty(2, *image, device="meta")  # two, since a norm over one value has no variance
    with _FusedAttention(), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        output = network(images)
    kept = sum(storage.nbytes() for storage in stored.values()) // images.element_size()
    return (kept + sum(3 * dense.numel() + 2 * dense[:, 0].numel() for dense in logits(output))) // 2


class _FusedAttention(TorchFunctionMode):
    """Without data torch would take the form of attention that stores a weight for each query and key."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Attended.apply(*args[:3], (kwargs or {}).get("attn_mask"))  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


class _Attended(torch.autograd.Function):
    """Stores inputs, output, one number for each query, and a mask as a bias.

    ``query [B, heads, N, d]``; the heads of the output are contiguous in memory.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, count, _ = query.shape
        output = query.new_empty(batch, count, heads, value.shape[-1]).transpose(1, 2)
        bias = None if mask is None else query.new_empty(mask.shape)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1]), bias)
        return output
