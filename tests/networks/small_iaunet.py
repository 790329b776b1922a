"""IAUNet of toy size, for tests of the network and of what trains it."""

from __future__ import annotations

from torch import nn

from maskmed_nnu.dimensions import CONV, INSTANCE_NORM
from maskmed_nnu.networks import IAUNet


def encoder_kwargs(features: tuple[int, ...] = (4, 8, 12, 12), convolutions: int = 1, spatial_dims: int = 2) -> dict:
    """What nnU-Net's plan says of an encoder with strides 1, 2, 4, ...; a volume's slices are as thick as 2 pixels."""
    stages = len(features)
    strides, kernels = [[1] * spatial_dims, *[[2] * spatial_dims] * (stages - 1)], [[3] * spatial_dims] * stages
    if spatial_dims == 3:
        strides[1], kernels[0] = [1, 2, 2], [1, 3, 3]
    return {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": CONV[spatial_dims],
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage": [convolutions] * stages,
        "conv_bias": True,
        "norm_op": INSTANCE_NORM[spatial_dims],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def build(spatial_dims: int = 2, **overrides) -> IAUNet:
    """Queries read the strides 8 and 4; the heatmap has stride 2, masks stride 1."""
    ours = {
        "input_channels": 2,
        "num_classes": 3,
        "num_things": 2,
        "width": 16,
        "levels": 2,
        "pyramid": (8, 6),
        "heads": 2,
        "ffn": 32,
        "num_queries": 7,
        "query_stride": 2,
        "window": 12 if spatial_dims == 2 else [6, 12, 12],
        "mask_channels": 4,
    }
    return IAUNet(**(encoder_kwargs(spatial_dims=spatial_dims) | ours | overrides))


PUBLISHED = {
    "width": 256,
    "levels": 3,
    "blocks_per_level": 3,
    "ffn": 1024,
    "dropout": 0.1,
    "pyramid": (256,),
    "queries": "learned",
    "mask_channels": 256,
    "dense": False,
    "norm_op": nn.BatchNorm2d,
    "norm_op_kwargs": None,
}
"""The paper's settings, without its backbone."""
