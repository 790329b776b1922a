"""Weights of one fold as safetensors, each parameter once however many names it has in the network."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_list, format_shape


def pack_weights(state: Mapping[str, Tensor], *, precision: str, source: str) -> bytes:
    """The state dict of a network; floating-point numbers in ``precision``.

    As `safetensors.torch.save_model` does, the metadata name for each name left out the one that has its tensor.

    Raises:
        InputError: where weights of ``source`` are no finite numbers, or too large for half precision.
    """
    dtype = {"float16": torch.float16, "float32": torch.float32}[precision]
    kept: dict[object, str] = {}
    tensors, others = {}, {}
    for name, tensor in state.items():
        identity = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype) if tensor.numel() else name
        if kept.setdefault(identity, name) != name:
            others[name] = kept[identity]
            continue
        stored = tensor.detach().cpu()
        if tensor.is_floating_point():
            stored = stored.to(dtype)
            if not stored.isfinite().all():
                if not tensor.isfinite().all():
                    raise InputError(f"{source} holds {name} with NaN or infinity; the training diverged, train again.")
                raise InputError(f"{name} in {source} is too large for float16; export with the precision float32.")
        stored = stored.contiguous()
        tensors[name] = stored.clone() if stored.untyped_storage().nbytes() != stored.nbytes else stored
    return save(tensors, metadata=others)


def unpack_weights(content: bytes, expected: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The state dict in ``content``, in float32; ``expected`` is that of the network, on the meta device.

    Raises:
        InputError: where ``content`` does not fit, or is damaged.
    """
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{source} is not a safetensors file ({error}); get the package again.") from None
    for name, kept in _metadata(content).items():
        if kept in tensors and name not in tensors:
            tensors[name] = tensors[kept]
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        faults = [f"{format_list(missing, 3)} is missing"] if missing else []
        faults += [f"{format_list(extra, 3)} is not in the network"] if extra else []
        raise _misfit(source, " and ".join(faults))
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            found, planned = format_shape(tensors[name].shape), format_shape(tensor.shape)
            raise _misfit(source, f"{name} is {found or 'one number'} and should be {planned or 'one number'}")
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise _misfit(source, f"{name} is {tensors[name].dtype} and should be {tensor.dtype}")
    floats: dict[int, Tensor] = {}  # a parameter of several names stays one
    return {name: floats.setdefault(id(tensors[name]), tensors[name].to(expected[name].dtype)) for name in expected}


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata in the header of safetensors that were read without an error."""
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _misfit(source: str, fault: str) -> InputError:
    return InputError(
        f"The weights in {source} do not fit the network that the plans describe ({fault}); get the package again."
    )
