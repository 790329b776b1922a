"""The Triton kernels against the form in PyTorch; without a GPU they run in Triton's interpreter."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.networks.layers.maskmed import deformable, deformable_triton
from maskmed_nnu.networks.layers.maskmed.deformable import DeformableAttention

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # of the largest number


def make(shapes, channels, *, batch=2, queries=5, heads=2, width=4, points=3, reach=1.5, dtype=torch.float32):
    """Arguments of `attend` but for the choice what is projected first."""
    generator = torch.Generator().manual_seed(0)
    levels, dims = len(shapes), len(shapes[0])

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE, dtype)

    values = [normal(batch, c, *shape).movedim(1, -1) for shape, c in zip(shapes, channels, strict=True)]
    projections = [normal(heads * width, c) for c in channels]
    reference = torch.rand(queries, dims, generator=generator).to(DEVICE)
    offsets = reach * normal(batch, queries, heads, levels, points, dims)
    weights = normal(batch, queries, heads, levels * points).float().softmax(-1)
    return values, projections, reference, offsets, weights.view(offsets.shape[:-1])


def plain(values, projections, reference, offsets, weights) -> Tensor:
    """The form in PyTorch, all levels projected first."""
    batch, queries, heads, _, points, dims = offsets.shape
    total = 0
    for level, (value, projection) in enumerate(zip(values, projections, strict=True)):
        position = DeformableAttention.positions(reference, offsets[:, :, :, level], value.shape[1:-1])
        rows = F.linear(value, projection).unflatten(-1, (heads, -1)).movedim(-2, 1).flatten(0, 1)
        position, weight = (t.transpose(1, 2).flatten(0, 1) for t in (position, weights[:, :, :, level]))
        total = total + deformable.sample(rows, position, weight).view(batch, heads, queries, -1).transpose(1, 2)
    return total


def doubled(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in tensors]


def results(form, values, projections, reference, offsets, weights, *choice) -> list[Tensor]:
    """The sum and all gradients; those of what has no effect are zero."""
    inputs = [*values, *projections, offsets, weights]
    for tensor in inputs:
        tensor.requires_grad_()
    attended = form(values, projections, *choice, reference, offsets, weights)
    cotangent = torch.randn(attended.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [attended, *torch.autograd.grad(attended, inputs, cotangent.to(attended))]


def assert_close(got: list[Tensor], want: list[Tensor], tolerance: float) -> None:
    for index, (one, other) in enumerate(zip(got, want, strict=True)):
        assert one.shape == other.shape
        if other.numel():
            error = (one.double() - other).abs().max() / other.abs().max().clamp_min(1e-30)
            assert error < tolerance, f"result {index}: {error:.1e} of the largest number"


CASES = {
    "volumes": (dict(shapes=[(4, 7, 5), (2, 3, 4)], channels=(3, 8)), [False, True]),
    "images": (dict(shapes=[(6, 9), (3, 5), (2, 2)], channels=(8, 5, 6), queries=37), [False, True, True]),
    "levels between others": (dict(shapes=[(3, 2, 2), (5, 3, 2), (2, 2, 3)], channels=(4, 3, 2)), [True, False, True]),
    "one cell along axes": (dict(shapes=[(1, 5, 1), (1, 1, 1)], channels=(2, 3), width=1), [False, True]),
    "one row of pixels": (dict(shapes=[(1, 6), (4, 1)], channels=(3, 2), width=5, heads=3, points=1), [True, False]),
    "far outside": (dict(shapes=[(3, 4, 2), (4, 4, 4)], channels=(3, 2), reach=60.0, queries=9), [True, False]),
    "one query": (dict(shapes=[(3, 3, 3)], channels=(33,), batch=1, queries=1, heads=1, width=7), [False]),
    "no image": (dict(shapes=[(3, 4), (2, 2)], channels=(3, 2), batch=0), [True, False]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_form_in_pytorch(case, dtype):
    settings, first = CASES[case]
    values, projections, reference, offsets, weights = make(**settings, dtype=dtype)
    want = results(
        plain, *(doubled(t) for t in (values, projections)), reference.double(), *doubled([offsets, weights])
    )
    got = results(deformable_triton.attend, values, projections, reference, offsets, weights, first)
    assert got[0].dtype == dtype and got[1].dtype == dtype
    assert_close(got, want, TOLERANCE[dtype])
