"""SimpleUNet and SimpleESKNet join the contract; the published counts and their own promises follow."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks import SimpleESKNet, SimpleUNet
from maskmed_nnu.networks.layers.simple_unet.fusion import FUSIONS, Fusion
from maskmed_nnu.networks.layers.simple_unet.units import ChannelShuffle, ESKBlock
from tests.networks.contract import NetworkContract

NORMS = {
    "batch": (nn.BatchNorm2d, nn.BatchNorm3d),
    "instance": (nn.InstanceNorm2d, nn.InstanceNorm3d),
}


def build(spatial_dims: int, network=SimpleUNet, norm: str = "batch", **overrides) -> SimpleUNet | SimpleESKNet:
    """Three anisotropic stages, two channels, three classes."""
    settings = {
        "input_channels": 2,
        "num_classes": 3,
        "n_stages": 3,
        "strides": [[1] * spatial_dims, [1, *[2] * (spatial_dims - 1)], [2] * spatial_dims],
        "conv_op": (nn.Conv2d, nn.Conv3d)[spatial_dims - 2],
        "norm_op": NORMS[norm][spatial_dims - 2],
        "norm_op_kwargs": {"affine": True},
        "width": 8,
        "selection_rate": 0.5,
    }
    if network is SimpleUNet:
        settings["kernel_sizes"] = [[1, *[3] * (spatial_dims - 1)], *[[3] * spatial_dims] * 2]
    return network(**(settings | overrides))


def published(network=SimpleUNet, **overrides) -> SimpleUNet | SimpleESKNet:
    """As released: five stages, three channels, two classes, norm and ReLU behind the head."""
    settings = {
        "input_channels": 3,
        "num_classes": 2,
        "n_stages": 5,
        "strides": [[1, 1]] + [[2, 2]] * 4,
        "conv_op": nn.Conv2d,
        "norm_op": nn.BatchNorm2d,
        "selection_rate": 0.5,
        "adaptive_fusion": False,
        "head_norm": True,
    }
    if network is SimpleUNet:
        settings["kernel_sizes"] = [[3, 3]] * 5
    return network(**(settings | overrides))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


class SimpleContract(NetworkContract):
    settings: dict = {}
    steps = 60

    def build(self, spatial_dims, **overrides):
        return build(spatial_dims, **(self.settings | overrides))

    test_an_edge_that_a_level_cannot_divide_is_refused_with_the_legal_size = None

    def test_every_size_works_down_to_the_refused_ones(self, spatial_dims):
        network = self.build(spatial_dims).eval()
        min_size = network.min_size
        with torch.no_grad():
            for add in (0, 1, 2, 3, 5, 8):
                size = [edge + add for edge in min_size]
                assert network(torch.randn(1, 2, *size)).shape == (1, 3, *size)
        with pytest.raises(InputError, match=rf"must be at least \({', '.join(map(str, min_size))}\)"):
            network(torch.randn(1, 2, *[edge - 1 for edge in min_size]))

    def test_one_case_can_be_learnt_by_heart(self, spatial_dims):
        image = self.image(spatial_dims)
        truth = (image.abs() > 0.8).sum(1)  # 0, 1 or 2 channels are bright: a rule for each pixel
        network = self.build(spatial_dims, width=24).train()
        optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
        for _ in range(self.steps):
            loss = F.cross_entropy(network(image), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert (network(image).argmax(1) == truth).float().mean() > 0.8


class TestSimpleUNet(SimpleContract):
    traced_dims = (2, 3)


class TestSimpleUNetOtherSettings(SimpleContract):
    settings = {
        "norm": "instance",
        "fusion": "gate",
        "operators": "depthwise",
        "dilation": 2,
        "blocks_per_stage": 2,
        "head_norm": True,
    }

    test_one_case_can_be_learnt_by_heart = None  # a ReLU behind the head hides half of the gradients


class TestSimpleUNetReduced(SimpleContract):
    settings = {"early_reduction": True, "operators": "grouped", "fusion": "add", "selection_rate": 1.0}

    test_one_case_can_be_learnt_by_heart = None  # single pixels cannot be distinguished at half the resolution


class TestSimpleESKNet(SimpleContract):
    steps = 30  # each takes ten times as long as SimpleUNet's
    settings = {"network": SimpleESKNet, "width": 16}  # of four units behind a ReLU, all may be idle


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"width": 16}, 16_244),
        ({"width": 32}, 63_460),
        ({"width": 16, "selection_rate": 0.25}, 11_876),
        ({"width": 32, "selection_rate": 1.0}, 125_732),
        ({"width": 32, "blocks_per_stage": 2}, 112_260),
        ({"width": 48, "blocks_per_stage": 2}, 251_140),
        ({"width": 48, "blocks_per_stage": 2, "selection_rate": 1.0}, 469_012),
        ({"width": 32, "blocks_per_stage": 2, "network": SimpleESKNet}, 673_435),
    ],
)
def test_parameters_are_the_published_ones(settings, expected):
    assert parameters(published(**settings)) == expected


@pytest.mark.parametrize("width", [16, 32, 48])
def test_adaptive_fusion_adds_eight_parameters_for_each_selected_channel(width):
    assert parameters(published(width=width, adaptive_fusion=True)) - parameters(published(width=width)) == 4 * width


@pytest.mark.parametrize(
    ("settings", "giga"),
    [
        ({"width": 16}, 0.19),
        ({"width": 32}, 0.71),
        ({"width": 48}, 1.54),
        ({"width": 64}, 2.71),
        ({"width": 16, "blocks_per_stage": 2, "network": SimpleESKNet}, 2.1),
        ({"width": 32, "blocks_per_stage": 2, "network": SimpleESKNet}, 8.45),
        ({"width": 32, "network": SimpleESKNet}, 6.3),
    ],
)
def test_multiplications_are_the_published_ones(settings, giga):
    network = published(**settings).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 256, 256))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, rel=0.02)


@pytest.mark.parametrize("network", [SimpleUNet, SimpleESKNet])
@pytest.mark.parametrize("fusion", ["concatenate", "add", "gate"])
def test_weights_of_one_are_no_adaptive_fusion(network, fusion):
    weighted, plain = (build(3, network, fusion=fusion, adaptive_fusion=flag).eval() for flag in (True, False))
    missing = plain.load_state_dict(weighted.state_dict(), strict=False)
    assert not missing.missing_keys
    assert {name.split(".")[-1] for name in missing.unexpected_keys} == {"alpha", "beta"}
    image = torch.randn(2, 2, 8, 11, 13)
    with torch.no_grad():
        assert torch.equal(weighted(image), plain(image))
        weighted.fusions[0].alpha[0] = 2.0
        assert not torch.equal(weighted(image), plain(image))


def test_the_selection_rate_changes_the_skips_and_the_decoder_alone():
    shapes = [{n: p.shape for n, p in build(2, selection_rate=rate).named_parameters()} for rate in (0.25, 0.75)]
    assert shapes[0].keys() == shapes[1].keys()
    changed = {name.split(".")[0] for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert changed == {"skips", "bottleneck", "fusions", "decoder", "head"}


@pytest.mark.parametrize("early_reduction", [False, True])
def test_deep_supervision_answers_each_scale_of_the_decoder_at_no_parameter(early_reduction):
    network = build(3, early_reduction=early_reduction, deep_supervision=True).train()
    answers = network(torch.randn(2, 2, 8, 16, 16))
    assert [answer.shape[2:] for answer in answers] == [(8, 16, 16), (8, 8, 8)]
    assert parameters(network) == parameters(build(3, early_reduction=early_reduction))
    network.deep_supervision = False
    assert network(torch.randn(2, 2, 8, 16, 16)).shape == (2, 3, 8, 16, 16)


def test_cheap_operators_and_early_reduction_cost_less():
    def cost(**settings):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            build(3, width=32, **settings).eval()(torch.zeros(1, 2, 16, 32, 32))
        return counter.get_total_flops()

    dense = cost()
    assert cost(operators="grouped") < dense / 2.5
    assert cost(operators="depthwise") < dense / 5
    assert cost(early_reduction=True) < dense / 2.5


def test_a_shuffle_shows_every_group_to_the_next():
    shuffled = ChannelShuffle(2)(torch.arange(6.0).view(1, 6, 1, 1)).flatten().tolist()
    assert shuffled == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_selective_kernel_shares_out_two_branches_and_keeps_the_input(spatial_dims):
    conv_op, norm_op = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2], NORMS["batch"][spatial_dims - 2]
    block = ESKBlock(2, 3, conv_op=conv_op, norm_op=norm_op, norm_op_kwargs={}).eval()
    image = torch.randn(2, 2, *[9] * spatial_dims)
    with torch.no_grad():
        block.channel_gate[-1].weight.zero_()
        block.channel_gate[-1].bias.fill_(50.0)  # the dilated branch gets all of the channels' share
        block.spatial_gate.weight.zero_()
        block.spatial_gate.bias.fill_(-50.0)  # and none of the places'
        first = block.first(image)
        dilated, wide = block.dilated(first), block.wide(first)
        nothing = torch.zeros_like(wide)
        expected = block.merge(torch.cat((dilated, nothing, nothing, wide, first), 1))
        torch.testing.assert_close(block(image), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "sum"}, "fusion 'sum'; legal are concatenate, add, gate"),
        ({"operators": "sparse"}, "operators 'sparse'; legal are dense, depthwise, grouped"),
        ({"selection_rate": 0.0}, "select 0.0 of 8 channels, which is 0; legal is"),
        ({"selection_rate": 1.5}, "select 1.5 of 8 channels, which is 12; legal is"),
    ],
)
def test_illegal_settings_are_named_with_the_legal_ones(settings, message):
    with pytest.raises(InputError, match=message):
        build(2, **settings)


@pytest.mark.parametrize("kind", FUSIONS)
def test_fusions_stay_in_half_precision(kind):
    """Their weights are float32; a product with them would take every map after it along."""
    ops = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "norm_op_kwargs": {"affine": True}}
    fusion = Fusion(4, kind=kind, adaptive=True, **ops)
    skip, below = (torch.randn(1, 4, edge, edge, dtype=torch.float16, requires_grad=True) for edge in (8, 4))
    with torch.autocast("cpu", dtype=torch.float16):
        fused = fusion(skip, below)
    assert fused.dtype == torch.float16
    fused.float().square().sum().backward()
    assert fusion.alpha.grad.isfinite().all() and fusion.beta.grad.abs().min() > 0
