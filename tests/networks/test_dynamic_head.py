"""The head that draws masks, against a loop over queries with layers of PyTorch's own; and the windows it draws in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead, window_cells, window_corner
from maskmed_nnu.networks.layers.iaunet.tile_instances import to_pixels, windowed_instances

CHANNELS, HIDDEN = 3, 4


def make_head(scale: float = 4.0) -> DynamicMaskHead:
    return DynamicMaskHead(mask_channels=CHANNELS, hidden=HIDDEN, scale=scale)


def mask_network(embedding: Tensor) -> nn.Sequential:
    """One query's network, whose weights stand one after the other in its embedding."""
    layers = nn.Sequential(
        nn.Linear(CHANNELS + 5, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    ).double()
    weights = iter(embedding.split([HIDDEN * (CHANNELS + 5), HIDDEN, HIDDEN * HIDDEN, HIDDEN, HIDDEN, 1]))
    with torch.no_grad():
        for linear in layers[::2]:
            # a row of the first layer's weights is one hidden number's, a row of the second's one input's
            shape = linear.weight.shape if linear is not layers[2] else linear.weight.T.shape
            weight = next(weights).view(shape)
            linear.weight.copy_(weight if linear is not layers[2] else weight.T)
            linear.bias.copy_(next(weights))
    return layers


def full_frame(head: DynamicMaskHead, embeddings: Tensor, features: Tensor, cells: Tensor) -> Tensor:
    """Logits ``[N, h, w]`` of every query at every cell, by a plain loop; ``cells [N, 2]`` are the queries' places."""
    _, height, width = features.shape
    logits = torch.empty(len(embeddings), height, width, dtype=torch.float64)
    for n, embedding in enumerate(embeddings):
        network = mask_network(embedding)
        for y in range(height):
            for x in range(width):
                relative = (torch.tensor([x + 0.5, y + 0.5], dtype=torch.float64) - cells[n]) / head.scale
                vote = relative + features[CHANNELS:, y, x]
                inputs = torch.cat([features[:CHANNELS, y, x], relative, vote, (vote**2).sum()[None]])
                logits[n, y, x] = network(inputs).detach()
    return logits


def test_it_equals_a_loop_over_queries_and_layers():
    torch.manual_seed(0)
    head = make_head()
    embeddings = torch.randn(2, 3, head.embedding_size, dtype=torch.float64)
    features, relative = torch.randn(3, 6, CHANNELS + 2).double(), torch.randn(3, 6, 2).double()
    logits = head(embeddings, features, relative)
    for layer in range(2):
        for n in range(3):
            network = mask_network(embeddings[layer, n])
            for p in range(6):
                vote = relative[n, p] + features[n, p, CHANNELS:]
                inputs = torch.cat([features[n, p, :CHANNELS], relative[n, p], vote, vote.square().sum()[None]])
                torch.testing.assert_close(logits[layer, n, p], network(inputs)[0])


def test_gradients():
    torch.manual_seed(0)
    head = DynamicMaskHead(mask_channels=2, hidden=2, scale=1.0)
    shapes = (2, 2, head.embedding_size), (2, 3, 4), (2, 3, 2)
    assert torch.autograd.gradcheck(head, [torch.randn(shape).double().requires_grad_() for shape in shapes])


@pytest.mark.parametrize("window", [4, 5])
def test_windows_are_centred_and_stay_on_the_grid(window):
    cells = torch.tensor([[6.5, 3.5], [0.5, 7.5], [11.9, 0.2]])  # the middle of the grid, and two of its corners
    index, relative = window_cells(cells, window=window, shape=(8, 12), scale=2.0)
    corner = window_corner(cells, window)
    middle = corner + window / 2
    assert (middle - cells).abs().max() <= 0.5
    assert index.shape == (3, window**2) and relative.shape == (3, window**2, 2)
    for n in range(3):
        for k in range(window**2):
            x = min(max(int(corner[n, 0]) + k % window, 0), 11)
            y = min(max(int(corner[n, 1]) + k // window, 0), 7)
            assert index[n, k] == y * 12 + x
            expected = (torch.tensor([x + 0.5, y + 0.5]) - cells[n]) / 2
            torch.testing.assert_close(relative[n, k], expected)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_masks_in_windows_are_those_of_the_full_frame(stride):
    """At the pixels that the cells stand for; between them and at the image's border they are interpolated."""
    torch.manual_seed(0)
    head = make_head()
    height, width, window = 7, 9, 4
    embeddings = torch.randn(5, head.embedding_size)
    embeddings[:, -1] = 2
    features = torch.randn(CHANNELS + 2, height, width)
    cells = torch.tensor([[4.5, 3.5], [0.5, 0.5], [8.5, 6.5], [0.5, 4.5], [6.2, 0.9]])
    reference = cells / torch.tensor([width, height])
    shape = (height * stride, width * stride)
    logits = full_frame(head, embeddings.double(), features.double(), cells.double())
    # everything outside a query's window is no mask
    expected = torch.zeros(5, *shape, dtype=torch.uint8)
    for n, (x, y) in enumerate(window_corner(cells, window).tolist()):
        columns, rows = slice(max(x, 0), min(x + window, width)), slice(max(y, 0), min(y + window, height))
        part = to_pixels(logits[n : n + 1, None, rows, columns], stride)[0, 0].sigmoid().mul(255).round().byte()
        expected[n, rows.start * stride : rows.stop * stride, columns.start * stride : columns.stop * stride] = part
    boxes, masks, found = windowed_instances(head, embeddings, features, reference, window=window, shape=shape)
    assert found.tolist() == (expected >= 128).flatten(1).any(1).nonzero()[:, 0].tolist()
    assert len(found) >= 3
    for n, (y0, x0, y1, x1), mask in zip(found.tolist(), boxes.tolist(), masks, strict=True):
        inside = expected[n] >= 128
        rows, columns = np.nonzero(inside.any(1).numpy())[0], np.nonzero(inside.any(0).numpy())[0]
        assert 0 <= rows[0] - y0 <= 1 and 0 <= y1 - 1 - rows[-1] <= 1  # with the soft rim of one pixel
        assert 0 <= columns[0] - x0 <= 1 and 0 <= x1 - 1 - columns[-1] <= 1
        difference = mask.int() - expected[n, y0:y1, x0:x1].int()
        assert difference.abs().max() <= 1


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_cells_value_goes_to_the_pixel_that_its_truth_is_read_at(stride):
    cells = torch.randn(2, 1, 5, 6)
    pixels = to_pixels(cells, stride)
    assert pixels.shape == (2, 1, 5 * stride, 6 * stride)
    torch.testing.assert_close(pixels[..., stride // 2 :: stride, stride // 2 :: stride], cells)


@pytest.mark.parametrize("stride", [2, 4])
def test_a_straight_edge_stays_where_it_is(stride):
    """A mask whose logits grow along x, and its truth read at the cells' pixels: the edge is not shifted."""
    x = torch.arange(16 * stride) + 0.5
    edge = 7.3 * stride
    logits = (x - edge)[stride // 2 :: stride].expand(1, 1, 4, -1)
    torch.testing.assert_close((to_pixels(logits, stride)[0, 0, 0] > 0)[stride:-stride], (x > edge)[stride:-stride])


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_an_object_at_the_border_reaches_the_border(stride):
    head = make_head()
    embeddings = torch.zeros(1, head.embedding_size)
    embeddings[0, -1] = 0.5  # the whole window
    shape = (12 * stride, 12 * stride)
    features = torch.zeros(CHANNELS + 2, 12, 12)
    reference = torch.tensor([[1 / 12, 11 / 12]])
    boxes, masks, _ = windowed_instances(head, embeddings, features, reference, window=6, shape=shape)
    assert boxes.tolist() == [[8 * stride, 0, 12 * stride, 4 * stride]]
    assert (masks[0] >= 128).all()


def test_many_queries_are_drawn_in_parts(monkeypatch):
    torch.manual_seed(0)
    head = make_head()
    embeddings, features = torch.randn(20, head.embedding_size), torch.randn(CHANNELS + 2, 10, 10)
    arguments = head, embeddings, features, torch.rand(20, 2)
    whole = windowed_instances(*arguments, window=5, shape=(10, 10))
    monkeypatch.setattr("maskmed_nnu.networks.layers.iaunet.tile_instances.CELLS_PER_CHUNK", 60)
    parts = windowed_instances(*arguments, window=5, shape=(10, 10))
    assert torch.equal(parts[0], whole[0])
    assert all(torch.equal(a, b) for a, b in zip(parts[1], whole[1], strict=True))


def test_autocast_does_not_round_coordinates():
    torch.manual_seed(0)
    head = make_head(scale=40.0)
    embeddings, features = torch.randn(4, head.embedding_size), torch.randn(CHANNELS + 2, 60, 60)
    arguments = head, embeddings, features, torch.rand(4, 2)
    expected = windowed_instances(*arguments, window=40, shape=(60, 60))
    with torch.autocast("cpu", torch.bfloat16):
        got = windowed_instances(*arguments, window=40, shape=(60, 60))
    assert all(torch.equal(a, b) for a, b in zip(got[1], expected[1], strict=True))


def test_no_query_is_no_mask():
    head = make_head()
    nothing = torch.zeros(0, head.embedding_size), torch.randn(CHANNELS + 2, 8, 8), torch.zeros(0, 2)
    boxes, masks, found = windowed_instances(head, *nothing, window=4, shape=(8, 8))
    assert boxes.shape == (0, 4) and masks == [] and found.shape == (0,)


def test_logits_between_pixels_of_a_window_follow_pytorchs_interpolation():
    cells = torch.randn(1, 1, 4, 5)
    linear = F.interpolate(cells, (3 * 2 + 1, 4 * 2 + 1), mode="bilinear", align_corners=True)
    torch.testing.assert_close(to_pixels(cells, 2)[..., 1:, 1:], linear)
