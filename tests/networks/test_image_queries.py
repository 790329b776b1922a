"""Queries from the peaks of the heatmap."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from maskmed_nnu.networks.layers.iaunet.image_queries import PRIOR, ImageQueries

dims = pytest.mark.parametrize("shape", [(12, 15), (6, 9, 7)], ids=["2d", "3d"])


def make_queries(num_queries: int = 6, num_classes: int = 2, spatial_dims: int = 2) -> ImageQueries:
    torch.manual_seed(0)
    return ImageQueries(channels=5, dim=8, spatial_dims=spatial_dims, num_classes=num_classes, num_queries=num_queries)


@dims
def test_peaks_are_the_local_maxima_of_scipy_in_the_order_of_their_heat(shape):
    torch.manual_seed(1)
    heat = torch.randn(2, *shape)
    index = make_queries(num_queries=heat[0].numel(), spatial_dims=len(shape))._peaks(heat[:, None])
    for sample, order in zip(heat, index, strict=True):
        highest = ndimage.maximum_filter(sample.numpy(), size=3, mode="nearest") == sample.numpy()
        peaks = [i for i in sample.flatten().argsort(descending=True).tolist() if highest.flat[i]]
        others = [i for i in sample.flatten().argsort(descending=True).tolist() if not highest.flat[i]]
        assert len(peaks) > 10
        assert order.tolist() == peaks + others


@dims
def test_a_query_brings_its_place_and_the_features_there(shape):
    dim, cells = len(shape), torch.Size(shape).numel()
    module = make_queries(spatial_dims=dim)
    features = torch.randn(2, 5, *shape)
    content, reference, logits = module(features)
    assert content.shape == (2, 6, 8) and reference.shape == (2, 6, dim) and logits.shape == (2, 2, *shape)
    hidden = module.hidden(features)
    torch.testing.assert_close(logits, module.seg_layers["heat"](hidden))
    peaks = module._peaks(logits)
    classes, places = peaks // cells, peaks % cells
    assert 0 < classes.sum() < classes.numel()
    embedding = module.seg_layers["classes"].weight
    for b in range(2):
        for q in range(6):
            place = reference[b, q].flip(0) * torch.tensor(shape) - 0.5
            torch.testing.assert_close(place, place.round(), atol=1e-4, rtol=0)
            cell = tuple(place.round().int().tolist())
            assert torch.arange(cells).view(shape)[cell] == places[b, q]
            there = hidden[(b, slice(None), *cell)]
            torch.testing.assert_close(content[b, q], module.content(there) + embedding[classes[b, q]])


def test_each_class_has_peaks_of_its_own_even_at_one_place():
    module = make_queries(num_queries=3)
    logits = torch.full((1, 2, 8, 8), -5.0)
    logits[0, 0, 2, 3], logits[0, 1, 2, 3], logits[0, 1, 6, 6] = 1, 2, 3
    assert module._peaks(logits).tolist() == [[64 + 6 * 8 + 6, 64 + 2 * 8 + 3, 2 * 8 + 3]]


def test_a_single_class_needs_no_embedding():
    assert list(make_queries(num_classes=1).seg_layers) == ["heat"]


def test_few_positions_give_few_queries():
    content, reference, _ = make_queries(num_queries=100)(torch.randn(1, 5, 3, 4))
    assert content.shape == (1, 24, 8)  # two classes at twelve positions
    assert len(reference[0].unique(dim=0)) == 12


def test_it_starts_with_the_prior():
    logits = make_queries()(torch.randn(1, 5, 8, 8))[2]
    assert logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.2)


def test_what_follows_after_the_peaks_is_ranked_in_half_precision_too():
    """A difference in half precision would leave nothing of the heat's order."""
    module = make_queries(num_queries=50, num_classes=1)
    features = torch.randn(1, 5, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        _, reference, logits = module(features)
    assert logits.dtype == torch.bfloat16
    place = (reference[0] * 8).long()
    found = logits[0].float().amax(0)[place[:, 1], place[:, 0]]
    highest = ndimage.maximum_filter(logits[0].float().amax(0).detach().numpy(), size=3, mode="nearest")
    peaks = int((torch.from_numpy(highest) == logits[0].float().amax(0)).sum())
    assert 0 < peaks < 40
    assert (found[peaks:].diff() <= 0).all()


def test_gradients_reach_the_features_but_not_through_the_choice():
    module = make_queries()
    features = torch.randn(1, 5, 6, 6, requires_grad=True)
    content, reference, _ = module(features)
    assert not reference.requires_grad
    content.sum().backward()
    assert features.grad.any()
    assert module.seg_layers["heat"].weight.grad is None
