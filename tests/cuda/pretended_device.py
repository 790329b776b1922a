"""A second device without hardware: tensors say that they are there, and their numbers are on the CPU.

As CUDA does, it refuses operators on tensors of both devices, and the host waits for it at each copy between the
devices and at each operator whose result has a size that only the device knows. Those waits are counted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
SIZE_FROM_VALUES = {
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "aten::bincount",
    "aten::repeat_interleave",
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::histc",
}


class Elsewhere(Tensor):
    """A tensor on the pretended device, whose numbers are ``inner``."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> Elsewhere:
        wrapped = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=device
        )
        wrapped.inner = inner
        return wrapped

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise RuntimeError(f"{func} ran on a tensor of a pretended device outside of its `PretendedDevice`.")


class PretendedDevice(TorchDispatchMode):
    """Inside this context ``device`` is another device than the CPU.

    ``waits`` says where the host waited for it: the operator, and the line of this package that ran it.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = torch.device(device)
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
        here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere)]
        wanted = kwargs.get("device")
        to_there = bool(there) if wanted is None else torch.device(wanted).type == self.device.type
        if func is aten._fused_sdp_choice.default:
            return 0  # by its formula
        if func in COPIES:
            target_there = isinstance(args[0], Elsewhere) if func is not aten._to_copy.default else to_there
            source_there = isinstance(args[0] if func is aten._to_copy.default else args[1], Elsewhere)
            waits = source_there != target_there and not (kwargs.get("non_blocking") or args[2:3] == (True,))
            to_there = target_there
        else:
            # CUDA takes indices from the host, which it waits for, and single numbers
            mixed = [tensor for tensor in here if tensor.ndim > 0] if there else []
            if mixed and func not in INDEXED:
                raise RuntimeError(f"{func} got tensors of {self.device.type} and of the host: {_line()}")
            waits = bool(there) and (bool(mixed) or _size_from_values(func, args))
        if waits:
            self.waits.append(f"{func.__name__.split('.')[0]} {_line()}")
        return self._run(func, args, kwargs, to_there)

    def _run(self, func: Any, args: tuple, kwargs: dict, to_there: bool) -> Any:
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        wrapped = {id(leaf.inner): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Elsewhere)}
        args, kwargs = tree_map(lambda leaf: leaf.inner if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
        result = func(*args, **kwargs)

        def back(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or id(leaf) in wrapped:
                return wrapped.get(id(leaf), leaf)
            return Elsewhere(leaf, self.device) if to_there else leaf

        return tree_map(back, result)


class _Numbers(TorchFunctionMode):
    """Python's numbers to the pretended device and back: by way of a tensor on the CPU, as CUDA's go."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == self.device.type:
            return func(*args, **(kwargs | {"device": "cpu"})).to(kwargs["device"])
        if func is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], **({"dtype": args[0].dtype} | kwargs)).to(args[0].device)
        if func is Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


@contextlib.contextmanager
def pretended_device(device: str = "meta") -> Iterator[PretendedDevice]:
    """The device under the name of a type that torch knows and no driver is asked for.

    Autocast, which that type lacks, does nothing.
    """
    with mock.patch("torch.autocast", lambda *_, **__: contextlib.nullcontext()):
        mode = PretendedDevice(device)
        with _Numbers(mode.device), mode:
            yield mode


def _size_from_values(func: Any, args: tuple) -> bool:
    if func in INDEXED:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return func._schema.name in SIZE_FROM_VALUES


def _line() -> str:
    """The innermost line of this package, of the benchmarks or of nnU-Net that is running."""
    frame = sys._getframe(2)
    while frame is not None:
        parts = frame.f_code.co_filename.split("/")
        for package in ("maskmed_nnu", "nnunetv2", "benchmarks"):
            if package in parts:
                return f"{'/'.join(parts[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "in the backward pass"
