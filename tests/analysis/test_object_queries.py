"""The queries of IAUNet: peaks, votes and masks where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from maskmed_nnu.analysis.object_queries import object_queries
from maskmed_nnu.analysis.patches import cut_patch
from maskmed_nnu.networks.iaunet import IAUNet


def iaunet(queries="image"):
    torch.manual_seed(0)
    network = IAUNet(
        input_channels=1,
        num_classes=3,
        num_things=2,
        n_stages=3,
        features_per_stage=[4, 8, 12],
        conv_op=nn.Conv2d,
        kernel_sizes=[[3, 3]] * 3,
        strides=[[1, 1], [2, 2], [2, 2]],
        n_conv_per_stage=[1] * 3,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        queries=queries,
        width=16,
        levels=1,
        blocks_per_level=1,
        pyramid=[8],
        heads=2,
        ffn=16,
        num_queries=9,
        query_stride=2,
        window=12,
        mask_channels=4,
        score_threshold=0.0,
    ).eval()
    with torch.no_grad():
        for parameter in network.decoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return network


def patch_of(image=(28, 48)):
    data = np.random.default_rng(0).standard_normal((1, 1, *image)).astype(np.float32)
    return cut_patch(data, (32, 48))


def test_masks_are_those_that_are_predicted():
    network, patch = iaunet(), patch_of()
    found = object_queries(network, patch)
    tile = network.predict_instances(patch.data[None])[0]
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_allclose(found.class_probabilities.sum(1), 1, rtol=1e-5)
    drawn = [np.zeros((32, 48), np.float32) for _ in tile.masks]
    for whole, (y0, x0, y1, x1), mask in zip(drawn, tile.boxes.tolist(), tile.masks, strict=True):
        whole[y0:y1, x0:x1] = mask.numpy() / 255
    expected = {round(float(score), 6): mask[2:30] for score, mask in zip(tile.scores, drawn, strict=True)}
    compared = 0
    for score, (y0, x0, y1, x1), mask in zip(found.scores, found.boxes, found.masks, strict=True):
        whole = np.zeros((28, 48), np.float32)
        whole[y0:y1, x0:x1] = mask
        if round(float(score), 6) in expected:
            np.testing.assert_allclose(whole, expected[round(float(score), 6)], atol=1e-6)
            compared += 1
    assert compared == len(tile.masks) > 0


def test_queries_look_from_peaks_of_the_heatmap():
    network, patch = iaunet(), patch_of()
    found = object_queries(network, patch)
    assert found.heat_stride == (2, 2) and found.heat.shape == (2, 16, 24) and found.offset == (2, 0)
    for y, x in found.peaks:
        row, column = ((np.array([y + 2, x]) + 0.5) / 2).astype(int)
        assert y == pytest.approx(2 * row + 0.5 - 2, abs=1e-4) and x == pytest.approx(2 * column + 0.5, abs=1e-4)
        around = found.heat[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert (around.max((1, 2)) == found.heat[:, row, column]).any()


def test_votes_are_in_pixels_and_in_the_order_of_the_axes():
    network = iaunet()
    with torch.no_grad():
        network.mask_features.weight.zero_()
        network.mask_features.bias[-2:] = torch.tensor([1.0, 0.5])  # x, y, in units of half a window
    found = object_queries(network, patch_of())
    assert found.vote_stride == network.mask_stride
    np.testing.assert_allclose(found.votes[:, 0, 0], (3, 6), rtol=1e-6)


def test_learned_queries_have_no_peaks():
    found = object_queries(iaunet("learned"), patch_of())
    assert found.heat is None and found.peaks is None and found.votes is None
    assert len(found.masks) == 9
