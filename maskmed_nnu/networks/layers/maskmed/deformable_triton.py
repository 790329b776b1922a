"""Multi-scale deformable attention in Triton, which torch's CUDA builds bring along; `deformable_grid` is the
reference, and takes its place where Triton does not work.

One launch samples all levels that are projected first, and one each level that is read in its native channels; points
and levels are summed in registers, in single precision. Nothing is stored for a point but its offset and weight.

Bytes moved per point, with ``E`` bytes a number, ``2^dim`` corners and ``C`` channels a row (of one head, where the
level is projected first): the forward pass reads ``2^dim * C * E`` of the values, and ``dim * E + 4`` of offset and
weight. The backward pass reads the same, adds ``2^dim * C * 4`` to the values' gradient, and writes ``dim * E + 4``. A
level of ``V`` voxels that does not lie channels-last is copied in each pass, ``2 * V * C * E``, for as long as the
launch takes; its gradient is cleared, ``V * C * 4``, and in half precision converted, ``V * C * (4 + E)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.networks.layers.exporting import is_exporting

DEVICE_TYPES = ("cuda",)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether Triton is there and works: it builds a small library with a C compiler when it is first used."""
    return _can_launch()


@functools.cache
def _can_launch() -> bool:
    try:
        import triton

        import maskmed_nnu.networks.layers.maskmed.deformable_kernels  # noqa: F401

        triton.runtime.driver.active.get_current_target()
    except Exception:  # whatever is missing, the other form gives the same result
        return False
    return True


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
    """As `deformable.attend`."""
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
    sampled = sample_levels(projected, native, places, shapes, reference, offsets, weights)
    if not later:
        return sampled
    columns = width if first else 0
    summed, rows = sampled.split([columns, sampled.shape[-1] - columns], -1)
    projection = torch.cat([projections[level].unflatten(0, (heads, width)) for level in later], -1)
    attended = torch.einsum("bnhc,hwc->bnhw", rows, projection)
    return attended + summed if first else attended


class _Group(NamedTuple):
    """What one launch samples: a value ``[B, *, C]``, and the kernels' arguments."""

    value: Tensor
    rows: int
    constants: dict[str, Any]
    column: int


def _groups(
    projected: Tensor | None,
    native: Sequence[Tensor],
    places: Sequence[int],
    shapes: Sequence[int],
    offsets: Tensor,
) -> Iterator[_Group]:
    heads, levels, points, dims = offsets.shape[2:]
    sizes = [(*reversed(shapes[dims * level : dims * (level + 1)]), 1)[:3] for level in range(levels)]
    work = [(value, [places.index(place)], 1) for place, value in enumerate(native)]
    if projected is not None:
        work.insert(0, (projected, [level for level in range(levels) if places[level] < 0], heads))
    width = sum(value.shape[-1] for value, _, _ in work)
    column = 0
    for value, members, parts in work:
        table: list[int] = []
        rows = 0
        for level in members:
            table += (level * points, rows, *sizes[level])
            rows += math.prod(sizes[level])
        channels = value.shape[-1]
        block = 1 << (channels - 1).bit_length()
        constants = {
            "DIMS": dims,
            "HEADS": heads,
            "SAMPLES": levels * points,
            "POINTS": points,
            "LEVELS": len(members),
            "TABLE": sum(number << 32 * place for place, number in enumerate(table)),
            "CHANNELS": channels,
            "ROW_STRIDE": parts * channels,
            "HEAD_STRIDE": channels if parts > 1 else 0,
            "OUTPUT_STRIDE": width,
            "BLOCK_C": block,
            # eight numbers for each thread: one read of 16 bytes in half precision
            "BLOCK_Q": min(max(256 // block, 1), 64),
            "num_warps": min(max(block // 256, 1), 8),
        }
        yield _Group(value.contiguous(), rows, constants, column)
        column += channels


def _launch(kernel: Any, group: _Group, offsets: Tensor, *arguments: Tensor) -> None:
    batch, queries, heads = offsets.shape[:3]
    if batch * queries:
        blocks = -(-queries // group.constants["BLOCK_Q"])
        with torch.cuda.device_of(offsets):
            kernel[(blocks * heads, batch)](*arguments, queries, group.rows, **group.constants)


ARGUMENTS = (
    "Tensor? projected, Tensor[] native, int[] places, SymInt[] shapes, Tensor reference, Tensor offsets, "
    "Tensor weights"
)


@torch.library.custom_op("maskmed_nnu::sample_levels", mutates_args=(), schema=f"({ARGUMENTS}) -> Tensor")
def sample_levels(
    projected: Tensor | None,
    native: Sequence[Tensor],
    places: Sequence[int],
    shapes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> Tensor:
    """Weighted sums: one over all levels in ``projected [B, rows, heads, width]``, one behind the other, and one for
    each level in ``native``, ``[B, *shape, C_l]``. Together ``[B, N, heads, width + sum of C_l]``.

    ``places`` says for each level where it is in ``native``, or -1; ``shapes`` are the sizes of all levels in one list.
    """
    from maskmed_nnu.networks.layers.maskmed.deformable_kernels import sample_kernel

    output = _empty_output(projected, native, places, shapes, reference, offsets, weights)
    reference, offsets, weights = reference.float().contiguous(), offsets.contiguous(), weights.contiguous()
    for group in _groups(projected, native, places, shapes, offsets):
        _launch(sample_kernel, group, offsets, group.value, reference, offsets, weights, output[..., group.column :])
    return output


@sample_levels.register_fake
def _empty_output(
    projected: Tensor | None,
    native: Sequence[Tensor],
    places: Sequence[int],
    shapes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> Tensor:
    values = [*native] if projected is None else [projected, *native]
    dtype = functools.reduce(torch.promote_types, [value.dtype for value in values])
    return offsets.new_empty((*offsets.shape[:3], sum(value.shape[-1] for value in values)), dtype=dtype)


@torch.library.custom_op(
    "maskmed_nnu::sample_levels_backward", mutates_args=(), schema=f"(Tensor grad, {ARGUMENTS}) -> Tensor[]"
)
def sample_levels_backward(
    grad: Tensor,
    projected: Tensor | None,
    native: Sequence[Tensor],
    places: Sequence[int],
    shapes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> list[Tensor]:
    """Gradients of ``projected`` (where there is one), of each of ``native``, of ``offsets`` and of ``weights``.

    Programs add to the values' gradients in any order. Where torch is to be deterministic they add integers, for which
    the order does not matter: 2^62 is more than the sum of all that may fall into one number.
    """
    from maskmed_nnu.networks.layers.maskmed.deformable_kernels import sample_backward_kernel

    grad, reference = grad.contiguous(), reference.float().contiguous()
    offsets, weights = offsets.contiguous(), weights.contiguous()
    offsets_grad, weights_grad = torch.empty_like(offsets), torch.empty_like(weights)
    exact = torch.are_deterministic_algorithms_enabled() and grad.numel() > 0
    scale = _fixed_point_scale(grad, weights) if exact else weights.new_empty(1, dtype=torch.float64)
    values_grad = []
    for group in _groups(projected, native, places, shapes, offsets):
        value = group.value
        buffer = torch.zeros_like(value, dtype=torch.int64 if exact else torch.float32)
        group.constants["FIXED_POINT"] = exact
        _launch(
            sample_backward_kernel,
            group,
            offsets,
            value,
            reference,
            offsets,
            weights,
            grad[..., group.column :],
            buffer,
            offsets_grad,
            weights_grad,
            scale,
        )
        values_grad.append((buffer / scale if exact else buffer).to(value.dtype))
        del group, value, buffer  # before the next level's are made
    return [*values_grad, offsets_grad, weights_grad]


def _fixed_point_scale(grad: Tensor, weights: Tensor) -> Tensor:
    """A power of two ``[1]``; what is not finite makes it zero or NaN, and the gradient NaN."""
    count = weights[0].numel()
    largest = grad.abs().amax().double() * weights.abs().amax().double() * count
    return torch.exp2(62 - largest.clamp_min(1e-60).log2().ceil()).view(1)


@sample_levels_backward.register_fake
def _empty_gradients(
    grad: Tensor,
    projected: Tensor | None,
    native: Sequence[Tensor],
    places: Sequence[int],
    shapes: Sequence[int],
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> list[Tensor]:
    like = [*native, offsets, weights] if projected is None else [projected, *native, offsets, weights]
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in like]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    projected, native, ctx.places, ctx.shapes, reference, offsets, weights = inputs
    ctx.save_for_backward(projected, reference, offsets, weights, *native)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    projected, reference, offsets, weights, *native = ctx.saved_tensors
    *values, offsets_grad, weights_grad = sample_levels_backward(
        grad, projected, native, ctx.places, ctx.shapes, reference, offsets, weights
    )
    projected_grad = None if projected is None else values.pop(0)
    return projected_grad, values, None, None, None, offsets_grad, weights_grad


sample_levels.register_autograd(_differentiate, setup_context=_keep)
