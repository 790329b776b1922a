"""The deformable attention against a plain loop that shares no code with it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from maskmed_nnu.networks.layers.maskmed import deformable, deformable_grid, deformable_rows
from maskmed_nnu.networks.layers.maskmed.deformable import DeformableAttention
from maskmed_nnu.networks.layers.position import encode_positions, sine_position_encoding, voxel_centres
from maskmed_nnu.networks.layers.weighted_rows import weighted_rows

SHAPES = {2: [(6, 9), (3, 5)], 3: [(4, 7, 5), (2, 3, 4)]}


def plain_loop(module: DeformableAttention, query, reference, values):
    """Project every level, then sum over batch, query, head, level, point and corner, one number at a time."""
    b, n, dim = query.shape
    heads, points, nd = module.heads, module.points, module.spatial_dims
    width = dim // heads
    offsets = module.offsets(query).view(b, n, heads, module.levels, points, nd)
    weights = module.weights(query).view(b, n, heads, module.levels * points).softmax(-1)
    rows = []
    for i, j, h in itertools.product(range(b), range(n), range(heads)):
        total = torch.zeros(width, dtype=query.dtype)
        for level, value in enumerate(values):
            shape = value.shape[1:-1]
            projected = value[i] @ module.value_projections[level].weight.T
            for p in range(points):
                place = [reference[j, a] * shape[-1 - a] - 0.5 + offsets[i, j, h, level, p, a] for a in range(nd)]
                for corner in itertools.product((0, 1), repeat=nd):
                    voxel = [math.floor(place[a].detach()) + corner[a] for a in range(nd)]
                    if all(0 <= voxel[a] < shape[-1 - a] for a in range(nd)):
                        share = math.prod(1 - (place[a] - voxel[a]).abs() for a in range(nd))
                        row = projected[tuple(voxel[::-1])][h * width : (h + 1) * width]
                        total = total + weights[i, j, h, level * points + p] * share * row
        rows.append(total)
    return module.output(torch.stack(rows).view(b, n, dim))


def make(nd: int, project_first: bool | None, n: int = 5, b: int = 2):
    torch.manual_seed(nd)
    module = DeformableAttention(
        dim=8, heads=2, points=3, channels=(3, 4), spatial_dims=nd, project_first=project_first
    ).double()
    # offsets and weights that depend on the query, large enough to leave the grid now and then
    nn.init.normal_(module.offsets.weight, std=0.5)
    nn.init.normal_(module.weights.weight)
    query = torch.randn(b, n, 8, dtype=torch.double, requires_grad=True)
    reference = torch.rand(n, nd, dtype=torch.double)
    values = [
        torch.randn(b, *s, c, dtype=torch.double, requires_grad=True) for s, c in zip(SHAPES[nd], (3, 4), strict=True)
    ]
    return module, query, reference, values


@pytest.mark.parametrize("form", [deformable_rows, deformable_grid])
@pytest.mark.parametrize("project_first", [True, False, None])
@pytest.mark.parametrize("nd", [2, 3])
def test_equals_plain_loop_forward_and_gradients(nd, project_first, form, monkeypatch):
    monkeypatch.setattr(deformable, "attend", form.attend)
    module, query, reference, values = make(nd, project_first)
    inputs = [query, *values, *module.parameters()]
    expected = plain_loop(module, query, reference, values)
    result = module(query, reference, values)
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)
    cotangent = torch.randn_like(result)
    for got, want in zip(
        torch.autograd.grad(result, inputs, cotangent), torch.autograd.grad(expected, inputs, cotangent), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(5,), (4, 7), (3, 5, 6)])
@pytest.mark.parametrize("width", [12, 32, 50])
def test_the_encoding_of_a_grid_is_that_of_its_voxels(shape, width):
    assert torch.equal(sine_position_encoding(shape, width), encode_positions(voxel_centres(shape), width))


def test_rows_in_any_layout_and_rows_that_nobody_reads():
    """As a product with a matrix of the weights, which shares no code with it."""
    torch.manual_seed(0)
    rows = torch.randn(6, 9, dtype=torch.double).T.requires_grad_()  # 9 rows, of which some are read more than once
    index, weight = torch.tensor([[0, 4, 4], [8, 4, 1]], dtype=torch.int32), torch.rand(2, 3, dtype=torch.double)
    weight.requires_grad_()
    matrix = torch.zeros(2, 9, dtype=torch.double).scatter_add(1, index.long(), weight)
    found, expected = weighted_rows(rows, index, weight), matrix @ rows
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(found)
    for got, want in zip(
        torch.autograd.grad(found, (rows, weight), cotangent),
        torch.autograd.grad(expected, (rows, weight), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("nd", [2, 3])
def test_gradcheck(nd):
    module, query, reference, values = make(nd, None, n=2, b=1)
    assert torch.autograd.gradcheck(lambda q, *v: module(q, reference, v), (query, *values))


@pytest.mark.parametrize("project_first", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 7)])
def test_zero_offsets_return_the_value_at_the_same_voxel(shape, project_first):
    """Three different edge lengths: a permuted axis order cannot pass."""
    nd = len(shape)
    module = DeformableAttention(dim=4, heads=2, points=2, channels=(4,), spatial_dims=nd, project_first=project_first)
    nn.init.zeros_(module.offsets.bias)
    nn.init.eye_(module.value_projections[0].weight)
    nn.init.eye_(module.output.weight)
    value = torch.randn(1, *shape, 4)
    result = module(torch.randn(1, math.prod(shape), 4), voxel_centres(shape), [value])
    torch.testing.assert_close(result.view(1, *shape, 4), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_offset_in_x_y_or_z_moves_along_that_axis(axis):
    """Offset component 0 is x, the last array axis; 2 is z, the first."""
    shape = (3, 5, 7)
    module = DeformableAttention(dim=2, heads=1, points=1, channels=(2,), spatial_dims=3)
    with torch.no_grad():
        module.offsets.bias.copy_(torch.eye(3)[axis])
    nn.init.eye_(module.value_projections[0].weight)
    nn.init.eye_(module.output.weight)
    value = torch.randn(1, *shape, 2)
    result = module(torch.zeros(1, math.prod(shape), 2), voxel_centres(shape), [value]).view(1, *shape, 2)
    inner = [slice(None)] * 5
    inner[3 - axis] = slice(0, -1)
    torch.testing.assert_close(result[tuple(inner)], value.roll(-1, dims=3 - axis)[tuple(inner)], rtol=1e-5, atol=1e-5)


def test_points_outside_the_grid_count_as_zero():
    module = DeformableAttention(dim=2, heads=1, points=1, channels=(2,), spatial_dims=2)
    with torch.no_grad():
        module.offsets.bias.fill_(100.0)
    result = module(torch.zeros(1, 4, 2), voxel_centres((2, 2)), [torch.ones(1, 2, 2, 2)])
    torch.testing.assert_close(result, torch.zeros_like(result))


def test_both_formulations_agree_in_single_precision():
    torch.manual_seed(0)
    first = DeformableAttention(dim=24, heads=3, points=4, channels=(5, 24), spatial_dims=3, project_first=True)
    later = DeformableAttention(dim=24, heads=3, points=4, channels=(5, 24), spatial_dims=3, project_first=False)
    later.load_state_dict(first.state_dict())
    values = [torch.randn(2, 6, 8, 7, 5), torch.randn(2, 3, 4, 4, 24)]
    query, reference = torch.randn(2, 11, 24), torch.rand(11, 3)
    torch.testing.assert_close(first(query, reference, values), later(query, reference, values), rtol=0, atol=1e-6)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("heads", [2, 6, 8])
def test_first_points_look_in_different_directions(heads, spatial_dims):
    directions = deformable._directions(heads, spatial_dims)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(heads))
    closeness = directions @ directions.T - 2 * torch.eye(heads)
    assert closeness.max() < 0.9


def test_voxel_centres_are_xyz_in_memory_order():
    centres = voxel_centres((2, 3, 4)).view(2, 3, 4, 3)
    torch.testing.assert_close(centres[1, 0, 3], torch.tensor([3.5 / 4, 0.5 / 3, 1.5 / 2]))


def test_position_encoding_tells_every_voxel_apart():
    encoding = sine_position_encoding((4, 6, 5), 48)
    distance = torch.cdist(encoding, encoding) + torch.eye(len(encoding)) * 9
    assert encoding.shape == (120, 48)
    assert distance.min() > 0.05


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="10 is not divisible by 3 heads"):
        DeformableAttention(dim=10, heads=3, points=1, channels=(2,), spatial_dims=2)
