"""IAUNet of toy size, for tests of the network and of what trains it."""

from __future__ import annotations

from torch import nn

from maskmed_nnu.networks import IAUNet


def encoder_kwargs(features: tuple[int, ...] = (4, 8, 12, 12), convolutions: int = 1) -> dict:
    """What nnU-Net's plan says of an encoder with strides 1, 2, 4, ..."""
    stages = len(features)
    return {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": nn.Conv2d,
        "kernel_sizes": [[3, 3]] * stages,
        "strides": [[1, 1], *[[2, 2]] * (stages - 1)],
        "n_conv_per_stage": [convolutions] * stages,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def build(**overrides) -> IAUNet:
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
        "window": 12,
        "mask_channels": 4,
    }
    return IAUNet(**(encoder_kwargs() | ours | overrides))


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
