"""The estimate that nnU-Net plans with, against what autograd really keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor, nn

from maskmed_nnu.losses import SetTargets
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.networks import IAUNet, MaskAttnUNet, MaskMed
from maskmed_nnu.networks.iaunet import WINDOW_POINTS
from maskmed_nnu.networks.layers.iaunet.backbone import TimmBackbone
from maskmed_nnu.networks.layers.maskmed import deformable, deformable_grid
from tests.networks.saved import kept_for_backward
from tests.networks.small_iaunet import encoder_kwargs


@pytest.mark.parametrize(("layers", "query_levels"), [(None, None), (1, [2, 3]), (3, [2, 3]), (2, [1, 2, 3])])
def test_estimate_beside_the_stock_network_is_what_autograd_keeps(layers, query_levels, monkeypatch):
    monkeypatch.setattr(deformable, "attend", deformable_grid.attend)  # the GPU's way, for which nnU-Net plans
    plan = {
        "n_stages": 4,
        "features_per_stage": [32, 64, 128, 256],
        "conv_op": nn.Conv3d,
        "kernel_sizes": [[3, 3, 3]] * 4,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 3],
        "n_conv_per_stage": [2] * 4,
        "n_conv_per_stage_decoder": [2] * 3,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }
    patch = (16, 24, 24)
    fsad = layers and {"query_levels": query_levels, "layers": layers}
    ours = MaskMed(input_channels=1, num_classes=3, head_levels=[3, 2], fsad=fsad, **plan)
    stock = PlainConvUNet(1, num_classes=3, deep_supervision=True, **plan)
    image = torch.randn(1, 1, *patch)
    measured = kept_for_backward(ours, image) / kept_for_backward(stock, image)
    estimated = ours.compute_conv_feature_map_size(patch) / stock.compute_conv_feature_map_size(patch)
    assert 0.9 * measured < estimated < 1.35 * measured


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"blocks_per_level": 3, "num_queries": 450, "masked_attention": True},
        {"pyramid": (64,), "queries": "learned", "mask_channels": 64},
    ],
)
def test_estimate_of_iaunet_beside_the_stock_network_is_what_autograd_keeps(settings):
    plan = encoder_kwargs((32, 64, 128, 256, 512, 512), convolutions=2)
    patch = (64, 96)
    ours = IAUNet(input_channels=1, num_classes=2, num_things=1, **plan, **settings)
    stock = PlainConvUNet(1, num_classes=2, deep_supervision=True, n_conv_per_stage_decoder=[2] * 5, **plan)
    image = torch.randn(1, 1, *patch)
    measured = kept_for_backward(ours, image) / kept_for_backward(stock, image)
    estimated = ours.compute_conv_feature_map_size(patch) / stock.compute_conv_feature_map_size(patch)
    assert 0.9 * measured < estimated < 1.35 * measured


class Trained(nn.Module):
    """A network with its loss of objects."""

    def __init__(self, network: IAUNet, targets: list[SetTargets]) -> None:
        super().__init__()
        self.network, self.targets = network, targets
        head, window = network.mask_head, network.window
        self.loss = LocationCriterion(num_classes=1, mask_head=head, window=window, num_points=WINDOW_POINTS)

    def forward(self, image: Tensor) -> Tensor:
        return self.loss(self.network(image), self.targets).total


def test_estimate_of_a_volume_is_what_autograd_keeps_of_network_and_loss():
    """Masks, votes and heatmap among it."""
    plan = encoder_kwargs((16, 32, 64, 128), convolutions=2, spatial_dims=3)
    patch = (16, 64, 64)
    ours = IAUNet(input_channels=1, num_classes=2, num_things=1, levels=1, **plan, window=[8, 24, 24])
    ids = torch.zeros(1, *patch, dtype=torch.int16)
    for index, (z, y, x) in enumerate(np.ndindex(2, 3, 3)):  # as many as fill the windows' points
        ids[0, 8 * z : 8 * z + 7, 21 * y : 21 * y + 20, 21 * x : 21 * x + 20] = index + 1
    number = torch.arange(1, 19)
    trained = Trained(ours, [SetTargets(ids, number * 0, number, number * 0)])
    plan["features_per_stage"] = [32, 64, 128, 256]  # nnU-Net's own, with which it compares
    stock = PlainConvUNet(1, num_classes=2, deep_supervision=True, n_conv_per_stage_decoder=[2] * 3, **plan)
    image = torch.randn(1, 1, *patch)
    measured = kept_for_backward(trained, image) / kept_for_backward(stock, image)
    estimated = ours.compute_conv_feature_map_size(patch) / stock.compute_conv_feature_map_size(patch)
    assert 0.9 * measured < estimated < 1.35 * measured


@pytest.mark.parametrize(
    "settings", [{}, {"placement": "none"}, {"key_strides": (4, 2, 1, 1), "mask": "hard", "embedding_dim": 16}]
)
def test_estimate_of_maskattn_unet_beside_the_stock_network_is_what_autograd_keeps(settings):
    plan = encoder_kwargs((64, 128, 256, 256), convolutions=2)
    shared = ("n_stages", "features_per_stage", "strides", "conv_op", "norm_op", "norm_op_kwargs")
    patch = (64, 96)
    ours = MaskAttnUNet(input_channels=1, num_classes=2, **{name: plan[name] for name in shared}, **settings)
    stock = PlainConvUNet(1, num_classes=2, deep_supervision=True, n_conv_per_stage_decoder=[2] * 3, **plan)
    image = torch.randn(1, 1, *patch)
    measured = kept_for_backward(ours, image) / kept_for_backward(stock, image)
    estimated = ours.compute_conv_feature_map_size(patch) / stock.compute_conv_feature_map_size(patch)
    assert 0.9 * measured < estimated < 1.35 * measured


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_estimate_of_a_timm_backbone_is_half_of_what_autograd_keeps(torchvision_ops, name):
    backbone = TimmBackbone(name=name, input_channels=1)
    kept = kept_for_backward(backbone, torch.randn(1, 1, 64, 96)) / 4
    assert backbone.compute_conv_feature_map_size((64, 96)) == pytest.approx(kept / 2, rel=0.01)
