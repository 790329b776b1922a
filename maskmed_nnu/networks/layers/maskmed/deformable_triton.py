"""Multi-scale deformable attention in Triton, which torch's CUDA builds bring along; `deformable_grid` is the
reference, and takes its place where Triton does not work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.networks.layers.exporting import is_exporting
from maskmed_nnu.networks.layers.maskmed.deformable_operators import sample_levels

DEVICE_TYPES = ("cuda",)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@functools.cache
def _can_launch() -> bool:
    """Triton builds a small library with a C compiler when it is first used."""
    try:
        import triton

        import maskmed_nnu.networks.layers.maskmed.deformable_kernels  # noqa: F401

        triton.runtime.driver.active.get_current_target()
    except Exception:  # whatever is missing, the other form gives the same result
        return False
    return True


def _is_available() -> bool:
    """Whether Triton is there and works."""
    return _can_launch()


is_available: Callable[[], bool] = torch.compiler.assume_constant_result(_is_available)


def applies(offsets: Tensor, reference: Tensor, values: Sequence[Tensor]) -> bool:
    """Whether `attend` is the form for these arguments of `deformable.attend`."""
    return (
        offsets.device.type in DEVICE_TYPES
        and not is_exporting()
        and all(tensor.dtype in DTYPES for tensor in (offsets, *values))
        and not reference.requires_grad
        and is_available()
    )


def attend(
    values: Sequence[Tensor],
    projections: Sequence[Tensor],
    projects_first: Sequence[bool],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> Tensor:
    """Arguments, shapes and result are those of `deformable.attend`."""
    heads = weights.shape[2]
    width = projections[0].shape[0] // heads
    first = [level for level, chosen in enumerate(projects_first) if chosen]
    later = [level for level, chosen in enumerate(projects_first) if not chosen]
    places = [-1 if chosen else later.index(level) for level, chosen in enumerate(projects_first)]
    projected = None
    if first:
        parts = [F.linear(values[level], projections[level]).flatten(1, -2) for level in first]
        projected = torch.cat(parts, 1).unflatten(-1, (heads, width))
    shapes = [size for value in values for size in value.shape[1:-1]]
    native = [values[level] for level in later]
    sampled: Tensor = sample_levels(projected, native, places, shapes, reference, offsets, weights)
    if not later:
        return sampled
    columns = width if first else 0
    summed, rows = sampled.split([columns, sampled.shape[-1] - columns], -1)
    projection = torch.cat([projections[level].unflatten(0, (heads, width)) for level in later], -1)
    attended = torch.einsum("bnhc,hwc->bnhw", rows, projection)
    return attended + summed if first else attended
