"""What the queries of MaskMed do: contributions, roles, similarity, sampling places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

from maskmed_nnu.analysis.patches import cut_patch
from maskmed_nnu.analysis.query_roles import principal_components, query_roles, similarity
from maskmed_nnu.analysis.sampling_places import sampling_places
from maskmed_nnu.analysis.untrained import is_untrained
from maskmed_nnu.networks.layers.maskmed.deformable_grid import positions, sample
from maskmed_nnu.networks.layers.maskmed.semantic import scores_to_logits
from maskmed_nnu.networks.maskmed import MaskMed


def maskmed(dim=2, regions=False):
    torch.manual_seed(1)
    network = MaskMed(
        input_channels=1,
        num_classes=3,
        n_stages=3,
        features_per_stage=[4, 6, 8],
        conv_op=nn.Conv2d if dim == 2 else nn.Conv3d,
        kernel_sizes=[[3] * dim] * 3,
        strides=[[1] * dim, [2] * dim, [1, *[2] * (dim - 1)] if dim == 3 else [2] * dim],
        n_conv_per_stage=[1] * 3,
        n_conv_per_stage_decoder=[1] * 2,
        norm_op=nn.InstanceNorm2d if dim == 2 else nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        regions=regions,
        num_queries=5,
        head_dim=16,
        head_heads=2,
        head_ffn=16,
        head_levels=[2, 1],
        fsad={"query_levels": [1, 2], "dim": 16, "heads": 2, "points": 3, "layers": 2, "ffn": 16},
    ).eval()
    with torch.no_grad():
        for parameter in network.head.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
        for layer in network.fsad.layers:
            layer.attention.offsets.weight.normal_(std=0.1)
            layer.attention.weights.weight.normal_(std=1.0)
    return network


def patch_of(dim, image=(9, 21, 27), size=(8, 24, 16)):
    data = np.random.default_rng(0).standard_normal((1, *image)).astype(np.float32)
    return cut_patch(data, size[-dim:], (4, 10, 15))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("regions", [False, True])
def test_the_contributions_of_the_queries_sum_to_the_output(dim, regions):
    network, patch = maskmed(dim, regions), patch_of(dim)
    roles = query_roles(network, patch)
    total = torch.from_numpy(sum(roles.contribution(query) for query in range(5)))
    with torch.no_grad():
        output = patch.crop(network(patch.data[None])[0].numpy())
    np.testing.assert_allclose(scores_to_logits(total, regions).numpy(), output, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(roles.scores(), total.numpy(), rtol=1e-5)
    found = roles.found(regions)
    expected = output > 0 if regions else output.argmax(0) == np.arange(3).reshape(-1, *[1] * dim)
    np.testing.assert_array_equal(found, expected)
    assert not any(module._forward_hooks for module in network.modules())


def test_shares_are_those_of_the_voxels_where_a_query_adds_most():
    roles = query_roles(maskmed(), patch_of(2))
    found = roles.found(False)
    found[2] = False
    shares = roles.shares(found)
    assert np.isnan(shares[:, 2]).all()
    for number in np.flatnonzero(found.any((1, 2))):
        added = np.stack([roles.contribution(query)[number] for query in range(5)])[:, found[number]]
        expected = [(added.argmax(0) == query).mean() for query in range(5)]
        np.testing.assert_allclose(shares[:, number], expected)
        assert shares[:, number].sum() == pytest.approx(1)


def test_similarity_and_components_against_scipy():
    embeddings = np.random.default_rng(0).standard_normal((6, 9))
    np.testing.assert_allclose(similarity(embeddings), 1 - cdist(embeddings, embeddings, "cosine"), atol=1e-12)
    in_a_plane = np.pad(np.random.default_rng(1).standard_normal((6, 2)), ((0, 0), (0, 7)))
    places, variance = principal_components(in_a_plane)
    directions = in_a_plane / np.linalg.norm(in_a_plane, axis=1, keepdims=True)
    np.testing.assert_allclose(cdist(places, places), cdist(directions, directions), atol=1e-9)
    assert variance.sum() == pytest.approx(1) and variance[0] >= variance[1]


@pytest.mark.parametrize("shape", [(1, 9), (2, 9), (5, 1)])
def test_components_of_few_queries(shape):
    places, variance = principal_components(np.random.default_rng(0).standard_normal(shape))
    assert places.shape == (shape[0], 2) and np.isfinite(places).all() and np.isfinite(variance).all()


@pytest.mark.parametrize("dim", [2, 3])
def test_samples_lie_where_the_network_reads(dim):
    """A ramp that differs along each axis, read by the network's own sampling, tells where that was."""
    network, patch = maskmed(dim), patch_of(dim)
    start = np.array([part.start or 0 for part in patch.inside])
    place = np.array([3, 8, 6][-dim:])
    found = sampling_places(network, patch, place)
    strides = [np.array(stride) for stride in np.cumprod(network.encoder.strides, 0)]
    for asked, level in zip(found.asked_at, found.asking_levels, strict=True):
        assert (np.abs(asked - place) <= strides[level] / 2).all()
    assert found.weights.sum((2, 3)) == pytest.approx(1)
    grid = np.stack(np.meshgrid(*map(np.arange, patch.data.shape[1:]), indexing="ij"))
    ramp = torch.from_numpy(np.tensordot([100.0, 10.0, 1.0][-dim:], grid, 1)).float()[None, None]
    pool = F.avg_pool2d if dim == 2 else F.avg_pool3d
    tested = 0
    for row, position in enumerate(found.positions):
        for level, stride in enumerate(strides):
            pooled = pool(ramp, tuple(stride)).movedim(1, -1)
            shape = np.array(pooled.shape[1:-1])
            # what the network computes, from the same token
            reference = torch.from_numpy((found.asked_at[row] + start + 0.5)[::-1] / grid.shape[:0:-1]).float()[None]
            offsets = torch.from_numpy(((position[:, level] - found.asked_at[row]) / stride)[..., ::-1].copy()).float()[
                None, None
            ]
            read_at = positions(reference, offsets, shape.tolist())
            value = sample(pooled, read_at.flatten(1, 3)[:, :, None], torch.ones(1, read_at[..., 0].numel(), 1))
            told = (position[:, level] + start).reshape(-1, dim)
            cells = (told + 0.5) / stride - 0.5
            within = ((cells >= 0) & (cells <= shape - 1)).all(1)
            expected = told @ np.array([100.0, 10.0, 1.0][-dim:])
            np.testing.assert_allclose(value[0, :, 0][within], expected[within], rtol=1e-4, atol=1e-2)
            tested += within.sum()
    assert tested > 10


def test_samples_are_those_of_the_last_layer():
    """With weights of zero the offsets are the biases: rays, in voxels of the levels."""
    network, patch = maskmed(), patch_of(2, image=(9, 24, 16))
    attention = network.fsad.layers[-1].attention
    with torch.no_grad():
        attention.offsets.weight.zero_()
        attention.offsets.bias.zero_().view(2, 3, 3, 2)[:, :, :, 0] = 1  # along x
    found = sampling_places(network, patch, (5, 9))
    np.testing.assert_allclose(found.asked_at, [[4.5, 8.5], [5.5, 9.5]], atol=1e-5)
    for level, stride in enumerate((1, 2, 4)):
        steps = found.positions[:, :, level] - found.asked_at[:, None, None]
        np.testing.assert_allclose(steps, np.broadcast_to([0, stride], steps.shape), atol=1e-4)
        np.testing.assert_allclose(found.distances((2.0, 3.0))[:, :, level], 3 * stride, atol=1e-3)


def test_whether_a_network_was_trained():
    network = maskmed()
    assert is_untrained(network)
    with torch.no_grad():
        next(m for m in network.modules() if isinstance(m, nn.LayerNorm)).bias[0] += 1e-4
    assert not is_untrained(network)
    assert not is_untrained(nn.Sequential(nn.Conv2d(1, 1, 1), nn.InstanceNorm2d(1)))
