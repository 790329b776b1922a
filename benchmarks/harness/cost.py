"""What a piece of work costs in theory, counted operator by operator: multiplications, bytes, memory.

Multiplications are those of convolutions, matrix products, attention and weighted sums over gathered rows. Bytes are
what every operator reads and writes, each by itself, views for nothing: what eager PyTorch has to move if no cache
holds anything. Memory is that of the storages which operators allocate; scratch memory inside an operator is not seen,
nor is what a kernel does that is launched past PyTorch's dispatcher.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


@dataclass
class Cost:
    """Of one call."""

    operators: list[tuple[float, float]] = field(default_factory=list)
    """Multiplications and bytes of each."""
    allocated: int = 0
    """Bytes of all storages together."""
    peak: int = 0
    """Most bytes that were alive at one time, without what was there before."""

    @property
    def multiplications(self) -> float:
        return sum(multiplications for multiplications, _ in self.operators)

    @property
    def bytes(self) -> float:
        return sum(moved for _, moved in self.operators)

    def least_seconds(self, *, multiplications_per_second: float, bytes_per_second: float) -> float:
        """Where every operator runs at one of the machine's two limits, one after another.

        >>> cost = Cost([(100.0, 10.0), (0.0, 50.0)])
        >>> cost.least_seconds(multiplications_per_second=10, bytes_per_second=10)
        15.0
        """
        return sum(max(m / multiplications_per_second, b / bytes_per_second) for m, b in self.operators)


def _attention(query: Tensor, key: Tensor, value: Tensor, products: int) -> float:
    """``products`` matrix products, of which those with the values have their width."""
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    with_values = 1 if products == 2 else 2
    return pairs * ((products - with_values) * query.shape[-1] + with_values * value.shape[-1])


def _rows(rows: Tensor, index: Tensor) -> float:
    return index.numel() * rows.shape[-1]


Formula = Callable[..., float]
MULTIPLICATIONS: dict[Any, Formula] = {
    aten._scaled_dot_product_flash_attention_for_cpu: lambda out, q, k, v, *_, **__: _attention(q, k, v, 2),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda out, grad, q, k, v, *_, **__: _attention(
        q, k, v, 5
    ),
    aten._embedding_bag: lambda out, rows, index, *_, **__: _rows(rows, index),
    aten._embedding_bag_forward_only: lambda out, rows, index, *_, **__: _rows(rows, index),
    aten._embedding_bag_dense_backward: lambda out, grad, index, *_, **__: _rows(grad, index),
    aten._embedding_bag_per_sample_weights_backward: lambda out, grad, rows, index, *_, **__: _rows(rows, index),
    # a sample is a weighted sum of 4 or 8 neighbours; backward has one for the neighbours and one for the place
    aten.grid_sampler_2d: lambda out, *_, **__: 4 * out.numel(),
    aten.grid_sampler_3d: lambda out, *_, **__: 8 * out.numel(),
    aten.grid_sampler_2d_backward: lambda out, grad, *_, **__: 8 * grad.numel(),
    aten.grid_sampler_3d_backward: lambda out, grad, *_, **__: 16 * grad.numel(),
}
"""Of operators that torch's own flop counter leaves out, from their result and arguments."""
GATHERING = {
    aten.embedding: 0,
    aten.gather: 0,
    aten.index: 0,
    aten.index_select: 0,
    aten.take: 0,
    aten._embedding_bag: 0,
    aten._embedding_bag_forward_only: 0,
    aten._embedding_bag_per_sample_weights_backward: 1,
}
"""They read some rows of one of their tensors, whose number this is, not all of it."""
WITHOUT_BYTES = ("aten::empty", "aten::new_empty")


class CostCounter(TorchDispatchMode):
    """Counts what is called inside into ``cost``."""

    def __init__(self) -> None:
        super().__init__()
        self.cost = Cost()
        self.alive = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", None)
        if packet is None:  # a higher-order operator
            return func(*args, **kwargs)
        known = packet in flop_registry or packet in MULTIPLICATIONS
        if not known and func is not torch.ops.prim.device.default:
            with self:  # under inference_mode, linear and the like come whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        multiplications = _multiplications(packet, args, kwargs, result)
        self.cost.operators.append((multiplications, _bytes(func, packet, multiplications, inputs, outputs)))
        owned = {_storage(tensor) for tensor in inputs}
        for tensor in outputs:
            if _storage(tensor) not in owned:
                self._allocate(tensor.untyped_storage())
        return result

    def _allocate(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.alive += size
        self.cost.allocated += size
        self.cost.peak = max(self.cost.peak, self.alive)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _multiplications(packet: Any, args: tuple, kwargs: dict, result: Any) -> float:
    if packet in MULTIPLICATIONS:
        return float(MULTIPLICATIONS[packet](result, *args, **kwargs))
    if packet in flop_registry:
        return flop_registry[packet](*args, **kwargs, out_val=result) / 2
    return 0.0


def _bytes(func: Any, packet: Any, multiplications: float, inputs: list[Tensor], outputs: list[Tensor]) -> float:
    owned = {_storage(tensor) for tensor in inputs}
    is_view = not func._schema.is_mutable and inputs and all(_storage(tensor) in owned for tensor in outputs)
    if is_view or func._schema.name.startswith(WITHOUT_BYTES):
        return 0.0
    written = _size(outputs)
    if packet not in GATHERING:
        return written + _size(inputs)
    table = inputs.pop(GATHERING[packet])
    gathered = multiplications * table.element_size() or written
    return written + min(_size([table]), gathered) + _size(inputs)


def _size(tensors: Iterable[Tensor]) -> float:
    """Bytes; an expanded tensor is as large as what it is expanded from."""
    return float(sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors))


def count(call: Callable[[], object]) -> Cost:
    """Of one call."""
    counter = CostCounter()
    with counter:
        call()
    return counter.cost
