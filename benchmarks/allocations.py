"""Counts what a training step allocates, tensor by tensor."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class AllocationCounter(TorchDispatchMode):
    """Counts the storages that operators allocate, and how many bytes of them are alive at once.

    Scratch memory inside an operator is not seen; it is the same kind for all formulations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = self.allocated = 0
        self.seen: set[int] = set()

    def ignore(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            self.seen.add(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.allocated += size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size
