"""The head that draws masks, against a loop over queries with layers of PyTorch's own; and the windows it draws in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.losses.centres import at_cells
from maskmed_nnu.networks.layers.iaunet import tile_instances
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead, window_cells, window_corner
from maskmed_nnu.networks.layers.iaunet.tile_instances import to_pixels, windowed_instances

CHANNELS, HIDDEN = 3, 4


SCALES = {2: (4.0, 4.0), 3: (4.0, 4.0, 1.5)}
"""of x, y and z: the slices of a volume are thicker than its pixels"""

dims = pytest.mark.parametrize("dim", [2, 3], ids=["2d", "3d"])
in_pixels = pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 4), (2, 1), (1, 2, 2), (2, 4, 4)], ids=str)


def make_head(dim: int) -> DynamicMaskHead:
    return DynamicMaskHead(mask_channels=CHANNELS, hidden=HIDDEN, scale=SCALES[dim])


def mask_network(embedding: Tensor, dim: int) -> nn.Sequential:
    """One query's network, whose weights stand one after the other in its embedding."""
    inputs = CHANNELS + 2 * dim + 1
    layers = nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    ).double()
    weights = iter(embedding.split([HIDDEN * inputs, HIDDEN, HIDDEN * HIDDEN, HIDDEN, HIDDEN, 1]))
    with torch.no_grad():
        for linear in layers[::2]:
            # a row of the first layer's weights is one hidden number's, a row of the second's one input's
            shape = linear.weight.shape if linear is not layers[2] else linear.weight.T.shape
            weight = next(weights).view(shape)
            linear.weight.copy_(weight if linear is not layers[2] else weight.T)
            linear.bias.copy_(next(weights))
    return layers


def full_frame(head: DynamicMaskHead, embeddings: Tensor, features: Tensor, cells: Tensor) -> Tensor:
    """Logits ``[N, *grid]`` of every query at every cell, by a plain loop; ``cells [N, dim]`` are their places."""
    grid = features.shape[1:]
    logits = torch.empty(len(embeddings), *grid, dtype=torch.float64)
    for n, embedding in enumerate(embeddings):
        network = mask_network(embedding, len(grid))
        for cell in np.ndindex(*grid):
            middle = torch.tensor(cell[::-1], dtype=torch.float64) + 0.5
            relative = (middle - cells[n]) / torch.tensor(head.scale, dtype=torch.float64)
            votes = features[(slice(CHANNELS, None), *cell)]
            vote = relative + votes
            inputs = torch.cat([features[(slice(CHANNELS), *cell)], relative, vote, (vote**2).sum()[None]])
            logits[(n, *cell)] = network(inputs).detach()
    return logits


@dims
def test_it_equals_a_loop_over_queries_and_layers(dim):
    torch.manual_seed(0)
    head = make_head(dim)
    embeddings = torch.randn(2, 3, head.embedding_size, dtype=torch.float64)
    features, relative = torch.randn(3, 6, CHANNELS + dim).double(), torch.randn(3, 6, dim).double()
    logits = head(embeddings, features, relative)
    for layer in range(2):
        for n in range(3):
            network = mask_network(embeddings[layer, n], dim)
            for p in range(6):
                vote = relative[n, p] + features[n, p, CHANNELS:]
                inputs = torch.cat([features[n, p, :CHANNELS], relative[n, p], vote, vote.square().sum()[None]])
                torch.testing.assert_close(logits[layer, n, p], network(inputs)[0])


@dims
def test_gradients(dim):
    torch.manual_seed(0)
    head = DynamicMaskHead(mask_channels=2, hidden=2, scale=[1.0] * dim)
    shapes = (2, 2, head.embedding_size), (2, 3, 2 + dim), (2, 3, dim)
    assert torch.autograd.gradcheck(head, [torch.randn(shape).double().requires_grad_() for shape in shapes])


@pytest.mark.parametrize("window", [(4, 4), (5, 5), (3, 4), (2, 5, 4)], ids=str)
def test_windows_are_centred_and_stay_on_the_grid(window):
    dim = len(window)
    shape, scale = (6, 8, 12)[-dim:], (2.0, 2.0, 0.5)[:dim]
    # the middle of the grid, and two of its corners
    cells = torch.tensor([[6.5, 3.5, 3.2], [0.5, 7.5, 5.5], [11.9, 0.2, 0.4]])[:, :dim]
    index, relative = window_cells(cells, window=window, shape=shape, scale=scale)
    corner = window_corner(cells, window)
    middle = corner + torch.tensor(window[::-1]) / 2
    assert (middle - cells).abs().max() <= 0.5
    assert index.shape == (3, np.prod(window)) and relative.shape == (3, np.prod(window), dim)
    for n in range(3):
        for k, step in enumerate(np.ndindex(*window)):
            place = corner[n].flip(0).numpy() + step
            place = np.clip(place, 0, np.array(shape) - 1)
            assert index[n, k] == np.ravel_multi_index(tuple(place), shape)
            expected = (torch.from_numpy(place[::-1].copy()) + 0.5 - cells[n]) / torch.tensor(scale)
            torch.testing.assert_close(relative[n, k], expected.float())


@in_pixels
def test_masks_in_windows_are_those_of_the_full_frame(stride):
    """At the pixels that the cells stand for; between them and at the image's border they are interpolated."""
    torch.manual_seed(0)
    dim = len(stride)
    head = make_head(dim)
    grid, window = (4, 7, 9)[-dim:], (2, 4, 4)[-dim:]
    embeddings = torch.randn(5, head.embedding_size)
    embeddings[:, -1] = 2
    features = torch.randn(CHANNELS + dim, *grid)
    cells = torch.tensor([[4.5, 3.5, 2], [0.5, 0.5, 0.5], [8.5, 6.5, 3.5], [0.5, 4.5, 1.2], [6.2, 0.9, 3]])[:, :dim]
    reference = cells / torch.tensor(grid[::-1])
    shape = tuple(edge * step for edge, step in zip(grid, stride, strict=True))
    logits = full_frame(head, embeddings.double(), features.double(), cells.double())
    # everything outside a query's window is not a mask
    expected = torch.zeros(5, *shape, dtype=torch.uint8)
    for n, corner in enumerate(window_corner(cells, window).flip(1).tolist()):
        spans = [(max(at, 0), min(at + w, n)) for at, w, n in zip(corner, window, grid, strict=True)]
        part = to_pixels(logits[(slice(n, n + 1), None, *(slice(*span) for span in spans))], stride)
        place = [slice(a * step, b * step) for (a, b), step in zip(spans, stride, strict=True)]
        expected[(n, *place)] = part[0, 0].sigmoid().mul(255).round().byte()
    boxes, masks, found = windowed_instances(head, embeddings, features, reference, window=window, shape=shape)
    assert found.tolist() == (expected >= 128).flatten(1).any(1).nonzero()[:, 0].tolist()
    assert len(found) >= 3 and boxes.shape == (len(found), 2 * dim)
    for n, box, mask in zip(found.tolist(), boxes.tolist(), masks, strict=True):
        places = np.argwhere((expected[n] >= 128).numpy())
        low, high = places.min(0), places.max(0)
        starts, stops = np.array(box[:dim]), np.array(box[dim:])
        # with the soft rim of one pixel
        assert ((low - starts >= 0) & (low - starts <= 1)).all() and (
            (stops - 1 - high >= 0) & (stops - high <= 2)
        ).all()
        difference = mask.int() - expected[(n, *map(slice, starts, stops))].int()
        assert difference.abs().max() <= 1


@in_pixels
def test_a_cells_value_goes_to_the_pixel_that_its_truth_is_read_at(stride):
    edges = (3, 5, 6)[-len(stride) :]
    cells = torch.randn(2, 1, *edges)
    pixels = to_pixels(cells, stride)
    assert pixels.shape[2:] == tuple(edge * step for edge, step in zip(edges, stride, strict=True))
    torch.testing.assert_close(at_cells(pixels, stride), cells)


@pytest.mark.parametrize("stride", [2, 4])
@dims
def test_a_straight_edge_stays_where_it_is(dim, stride):
    """A mask whose logits grow along x, and its truth read at the cells' pixels: the edge is not shifted."""
    x = torch.arange(16 * stride) + 0.5
    edge = 7.3 * stride
    logits = (x - edge)[stride // 2 :: stride].expand(1, 1, *[4] * (dim - 1), -1)
    row = to_pixels(logits, (1,) * (dim - 1) + (stride,)).flatten(0, -2)[0] > 0
    torch.testing.assert_close(row[stride:-stride], (x > edge)[stride:-stride])


@in_pixels
def test_an_object_at_the_border_reaches_the_border(stride):
    dim = len(stride)
    head = make_head(dim)
    embeddings = torch.zeros(1, head.embedding_size)
    embeddings[0, -1] = 0.5  # the whole window
    shape = tuple(12 * step for step in stride)
    features = torch.zeros(CHANNELS + dim, *[12] * dim)
    reference = torch.tensor([[1 / 12, 11 / 12, 11 / 12]])[:, :dim]
    boxes, masks, _ = windowed_instances(head, embeddings, features, reference, window=(6,) * dim, shape=shape)
    starts, stops = (8,) * (dim - 1) + (0,), (12,) * (dim - 1) + (4,)
    assert boxes.tolist() == [
        [cell * step for cells in (starts, stops) for cell, step in zip(cells, stride, strict=True)]
    ]
    assert (masks[0] >= 128).all()


@dims
def test_many_queries_are_drawn_in_parts(monkeypatch, dim):
    torch.manual_seed(0)
    head = make_head(dim)
    embeddings, features = torch.randn(20, head.embedding_size), torch.randn(CHANNELS + dim, *[10] * dim)
    arguments = head, embeddings, features, torch.rand(20, dim)
    tile = {"window": (5,) * dim, "shape": (10,) * dim}
    whole = windowed_instances(*arguments, **tile)
    monkeypatch.setitem(tile_instances.CELLS_PER_CHUNK, dim, 3 * 5**dim)
    drawn = []
    crop = tile_instances.crop_masks
    monkeypatch.setattr(
        tile_instances, "crop_masks", lambda masks, *rest: drawn.append(len(masks)) or crop(masks, *rest)
    )
    parts = windowed_instances(*arguments, **tile)
    assert drawn == [3] * 6 + [2]
    assert torch.equal(parts[0], whole[0]) and torch.equal(parts[2], whole[2]) and len(parts[2]) > 3
    assert all(torch.equal(a, b) for a, b in zip(parts[1], whole[1], strict=True))


def test_autocast_does_not_round_coordinates():
    torch.manual_seed(0)
    head = DynamicMaskHead(mask_channels=CHANNELS, hidden=HIDDEN, scale=(40.0, 40.0))
    embeddings, features = torch.randn(4, head.embedding_size), torch.randn(CHANNELS + 2, 60, 60)
    arguments = head, embeddings, features, torch.rand(4, 2)
    expected = windowed_instances(*arguments, window=(40, 40), shape=(60, 60))
    with torch.autocast("cpu", torch.bfloat16):
        got = windowed_instances(*arguments, window=(40, 40), shape=(60, 60))
    assert all(torch.equal(a, b) for a, b in zip(got[1], expected[1], strict=True))


@dims
def test_no_query_is_no_mask(dim):
    head = make_head(dim)
    nothing = torch.zeros(0, head.embedding_size), torch.randn(CHANNELS + dim, *[8] * dim), torch.zeros(0, dim)
    boxes, masks, found = windowed_instances(head, *nothing, window=(4,) * dim, shape=(8,) * dim)
    assert boxes.shape == (0, 2 * dim) and masks == [] and found.shape == (0,)


def test_logits_between_pixels_of_a_window_follow_pytorchs_interpolation():
    cells = torch.randn(1, 1, 4, 5)
    linear = F.interpolate(cells, (3 * 2 + 1, 4 * 2 + 1), mode="bilinear", align_corners=True)
    torch.testing.assert_close(to_pixels(cells, (2, 2))[..., 1:, 1:], linear)
