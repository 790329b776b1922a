"""MaskMed of toy size, for tests of the network and of what trains it."""

from __future__ import annotations

from torch import nn

from maskmed_nnu.networks import MaskMed

FSAD = {"query_levels": [1, 2], "dim": 16, "heads": 2, "points": 2, "layers": 2, "ffn": 32}


def unet_kwargs(spatial_dims: int, residual: bool = False) -> dict:
    kwargs = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 12],
        "conv_op": (nn.Conv2d, nn.Conv3d)[spatial_dims - 2],
        "kernel_sizes": [[3] * spatial_dims] * 3,
        # an anisotropic plan: the first axis is halved once only
        "strides": [[1] * spatial_dims, [1, *[2] * (spatial_dims - 1)], [2] * spatial_dims],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": (nn.InstanceNorm2d, nn.InstanceNorm3d)[spatial_dims - 2],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }
    return kwargs | {("n_blocks_per_stage" if residual else "n_conv_per_stage"): [1, 1, 1]}


def build(spatial_dims: int, residual: bool = False, **overrides) -> MaskMed:
    ours = {"head_levels": [2, 1], "head_dim": 16, "head_heads": 2, "head_ffn": 32, "num_queries": 5, "fsad": FSAD}
    return MaskMed(input_channels=2, num_classes=3, **unet_kwargs(spatial_dims, residual), **(ours | overrides))
