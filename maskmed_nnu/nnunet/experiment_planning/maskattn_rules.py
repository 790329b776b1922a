"""How MaskAttn-UNet's numbers follow from patch and objects: pure functions, and the planner's words about them.

What is the same for every data set is in `plans_handling.settings.maskattn_unet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from maskmed_nnu.nnunet.experiment_planning import instance_rules
from maskmed_nnu.nnunet.experiment_planning.instance_sizes import InstanceSizes
from maskmed_nnu.nnunet.plans_handling.settings.maskattn_unet import EmbeddingLossSettings, MaskAttnUNetSettings
from maskmed_nnu.nnunet.plans_handling.settings.nnunet import Norm

FEATURES = (64, 128, 256, 256)
"""Widths of the stages, as published. nnU-Net's further scales are skipped: attention sees all of a patch."""
OBJECT_FEATURES = (32, 64, 128, 128)
OBJECT_PLACEMENT = "decoder"
"""For objects, which need only their surroundings. After equal steps they are as accurate as with modules in the
encoder too, in 60% of the time; and a step of the published widths takes three times as long."""
MAX_KEYS = 256
"""Keys that every position attends to. At 128×128 attention then costs two thirds of what the convolutions do; with
1024 keys it costs more than they, and a step takes twice as long."""
OBJECT_KEYS = 64
"""For objects. With 256 keys attention takes a fifth of a narrow network's step, and more in prediction, whose tiles
are larger."""
EMBEDDING_DIM = 32
REACH, MIN_REACH = 0.7, 8
"""Of a large object, and pixels; the clustering compares pixels up to 4 apart."""
MIN_SHARE = 2
"""The smallest object is twice the smallest fragment: half a very small object."""
LOW_RESOLUTION = 128
"""Edge of the published images, and of patches of objects that need no more."""


def key_strides(patch: Sequence[int], strides: Sequence[Sequence[int]], max_keys: int = MAX_KEYS) -> list[int]:
    """For each stage of ``strides``, the edge of the squares that keys are averaged over: powers of 2.

    >>> key_strides((128, 128), [[1, 1], [2, 2], [2, 2], [2, 2]])
    [8, 4, 2, 1]
    >>> key_strides((512, 256), [[1, 1], [2, 2], [2, 2], [2, 1]])
    [32, 16, 8, 4]
    >>> key_strides((128, 128), [[1, 1], [2, 2], [2, 2], [2, 2]], OBJECT_KEYS)
    [16, 8, 4, 2]
    """
    size, chosen = tuple(patch), []
    for stride in strides:
        size = tuple(edge // step for edge, step in zip(size, stride, strict=True))
        square = 1
        while ceil(size[0] / square) * ceil(size[1] / square) > max_keys:
            square *= 2
        chosen.append(square)
    return chosen


def architecture(
    patch: Sequence[int],
    strides: Sequence[Sequence[int]],
    *,
    features: Sequence[int] = FEATURES,
    max_keys: int = MAX_KEYS,
    **settings: object,
) -> dict:
    """The network for ``patch`` in plans; ``strides`` of nnU-Net's stages, of which the first four are kept."""
    strides = [list(map(int, stride)) for stride in strides[: len(features)]]
    return {
        "network_class_name": "maskmed_nnu.networks.maskattn_unet.MaskAttnUNet",
        "arch_kwargs": {
            "n_stages": len(strides),
            "features_per_stage": list(features[: len(strides)]),
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "strides": strides,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
            "norm_op_kwargs": Norm.default("norm_op_kwargs"),
            **MaskAttnUNetSettings.plan(
                key_strides=key_strides([int(edge) for edge in patch], strides, max_keys), **settings
            ),
        },
        "_kw_requires_import": ["conv_op", "norm_op"],
    }


def object_settings(statistics: dict, sizes: InstanceSizes) -> dict:
    """What the network needs to find objects; ready for JSON."""
    instances = instance_rules.instance_settings(statistics, sizes)
    return {
        "features": OBJECT_FEATURES,
        "max_keys": OBJECT_KEYS,
        "placement": OBJECT_PLACEMENT,
        "embedding_dim": EMBEDDING_DIM,
        "thing_channels": instances["thing_classes"],
        "affinity_threshold": MaskAttnUNetSettings.default("affinity_threshold"),
        "min_pixels": MIN_SHARE * min(instances["min_fragment"]),
    }


def loss_settings(sizes: InstanceSizes) -> dict:
    """What `EmbeddingLoss` weighs and compares; ready for JSON.

    ``reach`` is 0.7 of a large object: clustering compares neighbours only, and to tell far objects apart that look
    alike costs the training more than it gives.
    """
    return EmbeddingLossSettings.plan(reach=max(MIN_REACH, ceil(REACH * max(sizes.large))))


def visible_size(sizes: InstanceSizes) -> tuple[float, ...]:
    """What a patch has to show: 128 pixels or two large objects side by side, and no more than the median image.

    >>> sizes = InstanceSizes((9, 9), (28, 28), (34, 34), 8, (30,), 1e-3, 89, (18, 18), (256, 100), (1, 1))
    >>> visible_size(sizes), visible_size(sizes._replace(large=(90, 90)))
    ((128, 100), (180, 100))
    """
    return tuple(
        min(edge, max(LOW_RESOLUTION, instance_rules.LARGE_OBJECTS_PER_PATCH * large))
        for edge, large in zip(sizes.image, sizes.large, strict=True)
    )


def explain(configuration: dict, *, parameters: int, macs: float) -> str:
    """What was chosen for this configuration and what it costs."""
    kwargs, patch = configuration["architecture"]["arch_kwargs"], configuration["patch_size"]
    widths = "-".join(map(str, kwargs["features_per_stage"]))
    return "\n".join(
        (
            f"MaskAttnUNet 2d: {parameters:,} parameters, widths {widths}, patch {'×'.join(str(e) for e in patch)}, "
            f"batch size {configuration['batch_size']}, {macs / 1e9:.3g} GMAC per patch, attention included.",
            explain_keys(configuration),
        )
    )


def explain_keys(configuration: dict) -> str:
    """What the patch and its spacing decided."""
    keys = ", ".join(map(str, configuration["architecture"]["arch_kwargs"]["key_strides"]))
    limit = OBJECT_KEYS if "instances" in configuration else MAX_KEYS
    return (
        f"  Images are resampled to a spacing of {' × '.join(f'{edge:.4g}' for edge in configuration['spacing'])}; "
        f"keys are means over squares of {keys} positions, so each position attends to at most {limit}."
    )


def explain_objects(configuration: dict, statistics: dict) -> str:
    """What the objects in the data set decided."""
    sizes = InstanceSizes.from_statistics(statistics, configuration["spacing"])
    instances, loss = configuration["instances"], configuration["instance_loss"]
    count = sum(one["objects"] for one in statistics["classes"].values() if one["kind"] == "thing")
    overlapping = instance_rules.overlap_depth(statistics) > 1
    smallest = configuration["architecture"]["arch_kwargs"]["min_pixels"]
    return "\n".join(
        (
            f"  {count:,} objects in {statistics['slices']:,} images; in the planned images small ones have "
            f"{min(sizes.small):.0f} pixels (10th percentile), large ones {max(sizes.large):.0f} (95th percentile).",
            f"  Scale {instances['scale']:.3g}; an object has at least {smallest} pixels (twice as many where it "
            f"touches another), and its embedding is to differ from those of others within {loss['reach']} pixels.",
            *(
                ("  Objects of a class overlap: the network gives each pixel to one of them (IAUNet finds overlaps).",)
                if overlapping
                else ()
            ),
        )
    )
