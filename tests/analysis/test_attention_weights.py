"""The attention maps of MaskAttn-UNet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maskmed_nnu.analysis.attention_weights import attention_weights
from maskmed_nnu.analysis.patches import cut_patch
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MaskAttention, attend
from tests.cli.test_analyze import MODULES, network


@pytest.mark.parametrize("kind", ["soft", "hard", "random", "none"])
@pytest.mark.parametrize("key_stride", [1, 3])
@torch.no_grad()
def test_weights_give_what_the_module_attends_to(kind, key_stride):
    torch.manual_seed(0)
    module = MaskAttention(8, heads=2, mask=kind, key_stride=key_stride).eval()
    for parameter in module.parameters():
        parameter.normal_()
    x = torch.randn(1, 8, 7, 5)
    tokens, keys = x.flatten(2).mT, module.pool(x).flatten(2).mT
    query, key, value = (
        part.unflatten(-1, (2, -1)).transpose(1, 2)
        for part in (module.query(tokens), module.key(keys), module.value(keys))
    )
    fused = attend(query, key, value, module.bias(keys))
    weights = module.attention(x, 13)
    assert weights.shape == (1, 2, len(keys[0]))
    torch.testing.assert_close(torch.einsum("bhm,bhmd->bhd", weights, value), fused[:, :, 13], rtol=1e-4, atol=1e-4)


def test_maps_lie_over_the_image():
    data = np.random.default_rng(0).standard_normal((1, 1, 50, 64)).astype(np.float32)
    patch = cut_patch(data, (64, 64))
    found = attention_weights(network(), patch, (40, 11))
    assert sorted(found) == sorted(MODULES)
    for name, weights in found.items():
        stride = 2 ** int(name.split(".")[1])
        assert weights.attention.shape == weights.mask.shape == (2, 64 // stride, 64 // stride)
        assert weights.attention.sum((1, 2)) == pytest.approx(1, abs=1e-5)
        assert weights.mask.max() == pytest.approx(1) and weights.mask.min() >= 0
        assert (np.abs(weights.asked_at - (40, 11)) <= stride / 2).all()
        places = weights.key_places()
        np.testing.assert_allclose(places[0, 0], (stride / 2 - 0.5 - 7, stride / 2 - 0.5))
        np.testing.assert_allclose(places[1, 0] - places[0, 0], (stride, 0))
        assert 1 <= weights.used_keys() <= weights.attention[0].size + 1e-6
        assert 0 < weights.reach() < 90


def test_reach_and_keys_of_one_key():
    data = np.zeros((1, 1, 64, 64), np.float32)
    weights = attention_weights(network(), cut_patch(data, (64, 64)), (0, 0))["encoder.0.1"]
    one = np.zeros_like(weights.attention)
    one[:, 3, 4] = 1
    weights = weights._replace(attention=one)
    assert weights.used_keys() == pytest.approx(1)
    assert weights.reach() == pytest.approx(5)
