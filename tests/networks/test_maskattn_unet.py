"""MaskAttnUNet joins the contract with every mask and placement; its own promises follow."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks import EmbeddingOutput, MaskAttnUNet
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MASKS, MaskAttention
from tests.networks.contract import NetworkContract


def build(**overrides) -> MaskAttnUNet:
    """Three stages, the last one with another stride along each axis; two channels, three classes."""
    settings = {
        "input_channels": 2,
        "num_classes": 3,
        "n_stages": 3,
        "features_per_stage": [8, 12, 16],
        "strides": [[1, 1], [2, 2], [2, 1]],
        "norm_op_kwargs": {"affine": True},
    }
    return MaskAttnUNet(**(settings | overrides))


def modules(network: MaskAttnUNet) -> list[MaskAttention]:
    return [module for module in network.modules() if isinstance(module, MaskAttention)]


class MaskAttnContract(NetworkContract):
    dims = (2,)
    traced_dims = ()
    patch = {2: (16, 24)}
    settings: dict = {}

    def build(self, spatial_dims, **overrides):
        return build(**(self.settings | overrides))

    def test_one_case_can_be_learnt_by_heart(self, spatial_dims):
        image = self.image(spatial_dims)[:1]
        truth = (image.abs() > 0.8).sum(1)  # 0, 1 or 2 channels are bright: a rule for each pixel
        network = self.build(spatial_dims, features_per_stage=[16, 24, 32], deep_supervision=False).train()
        optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
        for _ in range(60):
            output = network(image)
            loss = F.cross_entropy(getattr(output, "logits", output), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert (network.eval()(image).argmax(1) == truth).float().mean() > 0.9


class TestSoft(MaskAttnContract):
    traced_dims = (2,)
    settings = {"embedding_dim": 4, "deep_supervision": True}


class TestHard(MaskAttnContract):
    traced_dims = (2,)
    settings = {"mask": "hard", "placement": "encoder", "norm_op": nn.BatchNorm2d}


class TestRandom(MaskAttnContract):
    traced_dims = (2,)
    settings = {"mask": "random", "placement": "decoder", "heads": 1}


class TestPlainAttentionToFewerKeys(MaskAttnContract):
    settings = {"mask": "none", "key_strides": [4, 2, 1]}


class TestPlainUNet(MaskAttnContract):
    settings = {"placement": "none"}


# -------------------------------------------------------------------------------------------------------- the structure
def test_training_output_has_the_promised_shapes():
    image = torch.randn(2, 2, 16, 24)
    assert build()(image).shape == (2, 3, 16, 24)
    scales = [(2, 3, 16, 24), (2, 3, 8, 12)]
    assert [logits.shape for logits in build(deep_supervision=True)(image)] == scales
    output = build(embedding_dim=5, deep_supervision=True)(image)
    assert isinstance(output, EmbeddingOutput)
    assert [logits.shape for logits in output.logits] == scales
    assert output.embeddings.shape == (2, 5, 16, 24)
    torch.testing.assert_close(output.embeddings.norm(dim=1), torch.ones(2, 16, 24))


@pytest.mark.parametrize(("placement", "count"), [("both", 5), ("encoder", 3), ("decoder", 2), ("none", 0)])
def test_placement_says_which_stages_attend(placement, count):
    network = build(placement=placement)
    assert len(modules(network)) == count
    assert len(modules(network.encoder)) == (3 if placement in ("both", "encoder") else 0)


@pytest.mark.parametrize("mask", MASKS)
def test_settings_reach_every_module(mask):
    found = modules(build(mask=mask, heads=2, key_strides=[4, 2, 1]))
    assert {(module.kind, module.heads) for module in found} == {(mask, 2)}
    assert [module.key_stride for module in found] == [4, 2, 1, 4, 2]
    assert len({module.seed for module in found}) == 5


def test_a_position_is_read_from_far_away_through_attention_only():
    """With norms that do not look across positions, a convolution reaches a few of them and attention all."""
    image = torch.randn(1, 2, 16, 96)
    other = image.clone()
    other[..., -1] += 3
    for placement, reaches in (("none", False), ("encoder", True), ("decoder", True)):
        torch.manual_seed(0)
        network = build(placement=placement, norm_op=nn.BatchNorm2d).eval()
        with torch.no_grad():
            difference = (network(image) - network(other)).abs()
        assert difference[..., -1].max() > 1e-3
        assert (difference[..., 0].max() > 1e-6) == reaches


def test_any_size_that_the_strides_divide_works():
    network = build().eval()
    assert network.tile_divisor == (4, 2)
    with torch.no_grad():
        for size in ((8, 4), (8, 6), (12, 10), (20, 4), (64, 34)):
            assert network(torch.randn(1, 2, *size)).shape == (1, 3, *size)
    with pytest.raises(InputError, match=r"patch \(4, 2\) .*next legal patch is \(8, 4\)"):
        network(torch.randn(1, 2, 4, 2))


def test_weights_of_deep_supervision_load_without_it_and_nothing_else_is_forgotten():
    """nnU-Net predicts with networks that are built without deep supervision."""
    trained, other = build(deep_supervision=True).eval(), build().eval()
    image = torch.randn(1, 2, 16, 24)
    other.load_state_dict(trained.state_dict())
    torch.testing.assert_close(other(image), trained(image))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        build(placement="none").load_state_dict(trained.state_dict())


def test_pretrained_weights_without_the_heads_fit_another_number_of_classes():
    """nnU-Net leaves out what has ``.seg_layers.`` in its name and takes the rest as it is."""
    shapes = [
        {name: weight.shape for name, weight in build(num_classes=classes).state_dict().items()} for classes in (3, 5)
    ]
    assert [name for name in shapes[0] if shapes[0][name] != shapes[1][name]] == [
        "heads.seg_layers.0.weight",
        "heads.seg_layers.0.bias",
    ]


def test_the_default_of_the_planner_has_as_many_parameters():
    """Widths and heads of the text; counted by hand below."""
    widths = [64, 128, 256, 256]
    network = MaskAttnUNet(
        input_channels=3,
        num_classes=2,
        n_stages=4,
        features_per_stage=widths,
        strides=[[1, 1]] + [[2, 2]] * 3,
        norm_op_kwargs={"affine": True},
    )
    stages = [(3, 64), (64, 128), (128, 256), (256, 256), (512, 256), (384, 128), (192, 64)]
    expected = 64 * 2 + 2
    for into, width in stages:
        expected += 9 * into * width + 9 * width**2 + 4 * width
        expected += into * width + 2 * width if into != width else 0
        # four projections (no bias of the keys), two of the feed-forward network, two norms, the mask
        expected += 4 * width**2 + 3 * width + 8 * width**2 + 5 * width + 4 * width + 4 * width + 4
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


# ---------------------------------------------------------------------------------------------------------- the objects
@pytest.fixture
def two_objects():
    """A network that reads labels and embeddings off the image, and an image of two touching squares on stuff."""
    network = build(input_channels=3, embedding_dim=3, thing_channels=[2], min_pixels=4).eval()
    image = torch.zeros(2, 3, 16, 24)
    image[0, 0, 4:12, 3:10], image[0, 1, 4:12, 10:18], image[0, 2, :, 20:] = 1, 1, 1
    network._decoder_scales = lambda x: [x]
    network.embedding = nn.Identity()
    head = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([3.0, 0, 0]))
        head.weight[..., 0, 0].copy_(torch.tensor([[0.0, 0, 0], [0, 0, 9], [9, 9, 0]]))
    network.heads["seg_layers"][0] = head
    return network, image


def test_tiles_get_their_objects(two_objects):
    network, image = two_objects
    found, nothing = network.predict_instances(image)
    for (y0, x0, _, _), mask, square in zip(found.boxes.tolist(), found.masks, image[0, :2], strict=True):
        rows, columns = (mask >= 128).nonzero().T
        assert torch.equal(torch.stack((y0 + rows, x0 + columns)).T, square.nonzero())
    assert found.classes.tolist() == [0, 0]
    assert ((found.scores > 0.9) & (found.scores <= 1)).all()
    assert found.semantic.shape == (3, 16, 24)
    torch.testing.assert_close(found.semantic.sum(0), torch.ones(16, 24))
    assert (found.semantic.argmax(0)[:, 20:] == 1).all()
    assert nothing.scores.shape == nothing.classes.shape == (0,) and nothing.boxes.shape == (0, 4)


def test_without_stuff_there_is_no_semantic_map(two_objects):
    network, image = two_objects
    network.thing_channels = (1, 2)
    found = network.predict_instances(image)[0]
    assert found.semantic is None
    assert sorted(found.classes.tolist()) == [0, 1, 1]


def test_a_network_without_embedding_has_no_objects():
    for settings in ({}, {"embedding_dim": 4}, {"thing_channels": [1]}):
        with pytest.raises(InputError, match="set embedding_dim and thing_channels"):
            build(**settings).predict_instances(torch.randn(1, 2, 16, 24))


def test_settings_that_cannot_be_are_told():
    with pytest.raises(InputError, match="placement 'bottom'; legal are both, encoder, decoder, none"):
        build(placement="bottom")
    with pytest.raises(InputError, match="Conv3d, but MaskAttnUNet works on images; take the configuration 2d"):
        build(conv_op=nn.Conv3d)
