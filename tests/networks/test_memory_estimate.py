"""What is counted on tensors without data, against what autograd really keeps of the networks."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from maskmed_nnu.networks import IAUNet, MaskAttnUNet, MaskMed
from maskmed_nnu.networks.layers.iaunet.backbone import TimmBackbone
from maskmed_nnu.networks.layers.stored_numbers import STORED_PER_UNIT, stored_numbers
from tests.networks.saved import kept_for_backward, use_form_for_gpus
from tests.networks.small_iaunet import encoder_kwargs


@pytest.fixture
def form_for_gpus(monkeypatch):
    """On the CPU, the form of deformable attention for GPUs, for which nnU-Net plans."""
    use_form_for_gpus(monkeypatch)


def assert_counted(network: nn.Module, patch: tuple[int, ...], *, rel: float = 0.01) -> None:
    kept = kept_for_backward(network, torch.randn(2, 1, *patch)) / 2 / 4
    assert stored_numbers(network, (1, *patch)) == pytest.approx(kept, rel=rel)


@pytest.mark.parametrize(("layers", "query_levels"), [(None, None), (1, [2, 3]), (3, [2, 3]), (2, [1, 2, 3])])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.usefixtures("form_for_gpus")
def test_maskmed(layers, query_levels, dim):
    plan = encoder_kwargs((8, 16, 32, 64), convolutions=2, spatial_dims=dim)
    fsad = layers and {"query_levels": query_levels, "layers": layers, "dim": 48, "ffn": 96, "points": 4}
    network = MaskMed(
        input_channels=1, num_classes=3, head_levels=[3, 2], fsad=fsad, n_conv_per_stage_decoder=[2] * 3, **plan
    )
    # on the CPU alone the FSAD-Transformer keeps copies of the encoder's features, laid out in rows
    assert_counted(network, (8, 24, 24)[-dim:], rel=0.05 if fsad else 0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"blocks_per_level": 3, "num_queries": 450, "masked_attention": True},
        {"pyramid": (64,), "queries": "learned", "mask_channels": 64},
    ],
)
def test_iaunet(settings):
    plan = encoder_kwargs((8, 16, 32, 64, 64, 64), convolutions=2)
    assert_counted(IAUNet(input_channels=1, num_classes=2, num_things=1, **plan, **settings), (64, 96))


def test_iaunet_of_a_volume():
    plan = encoder_kwargs((8, 16, 32, 64), convolutions=2, spatial_dims=3)
    network = IAUNet(input_channels=1, num_classes=2, num_things=1, levels=1, **plan, window=[8, 24, 24])
    assert_counted(network, (8, 32, 32))


@pytest.mark.parametrize(
    "settings", [{}, {"placement": "none"}, {"key_strides": (4, 2, 1, 1), "mask": "hard", "embedding_dim": 16}]
)
def test_maskattn_unet(settings):
    plan = encoder_kwargs((8, 16, 32, 32))
    shared = ("n_stages", "features_per_stage", "strides", "conv_op", "norm_op", "norm_op_kwargs")
    network = MaskAttnUNet(input_channels=1, num_classes=2, **{name: plan[name] for name in shared}, **settings)
    assert_counted(network, (32, 48))


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_a_timm_backbone(torchvision_ops, name):
    backbone = TimmBackbone(name=name, input_channels=1)
    assert_counted(backbone, (64, 96))


@pytest.mark.parametrize("dim", [2, 3])
def test_nnunets_own_network_stores_two_numbers_for_each_that_it_counts(dim):
    """Beside its loss, of three classes."""
    plan = encoder_kwargs((32, 64, 128, 256), convolutions=2, spatial_dims=dim)
    stock = PlainConvUNet(1, num_classes=3, deep_supervision=True, n_conv_per_stage_decoder=[2] * 3, **plan)
    patch = (32, 64, 64)[-dim:]
    stored = stored_numbers(stock, (1, *patch), logits=lambda output: output)
    assert stored / stock.compute_conv_feature_map_size(patch) == pytest.approx(STORED_PER_UNIT, rel=0.03)
