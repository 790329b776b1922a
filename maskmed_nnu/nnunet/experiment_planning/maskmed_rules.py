"""How MaskMed's numbers follow from a data set: pure functions from patch, strides and classes to settings.

Levels are counted as in the encoder: 0 is full resolution, the last one is the bottleneck. A token is one position of
a level's feature map. What is the same for every data set is in `plans_handling.settings.maskmed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.maskmed import DENSE_LOSS_MAX_VOXELS
from maskmed_nnu.networks.maskmed import LOSS_POINTS as NUM_POINTS
from maskmed_nnu.nnunet.plans_handling.settings.maskmed import FSADSettings, MaskMedSettings, SetLossSettings

QUERIES_PER_CLASS = 1.5
QUERIES_MULTIPLE = 8
FSAD_TOKEN_BUDGET = 8192
"""Query positions, summed over the query levels."""
FSAD_MAX_LEVELS = 3
HEAD_TOKEN_BUDGET = 4096
"""Positions that the mask head attends to in one layer."""
HEAD_MAX_LEVELS = 3
FSAD_MAX_LAYERS = 3
FSAD_SHARE = 0.03
"""Layers times query positions, as a share of the patch's voxels: what the transformer may cost beside the
convolutions. On large patches it never binds; on small ones three layers would make a step twice as long."""


def num_queries(num_classes: int) -> int:
    """1.5 per class, rounded up to a multiple of 8.

    >>> [num_queries(k) for k in (1, 4, 5, 6, 14, 16)]
    [8, 8, 8, 16, 24, 24]
    """
    return ceil(num_classes * QUERIES_PER_CLASS / QUERIES_MULTIPLE) * QUERIES_MULTIPLE


def tokens_per_level(patch_size: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    """
    >>> tokens_per_level((40, 56, 40), [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)])
    [89600, 11200, 1400, 175]
    """
    shape = [int(edge) for edge in patch_size]
    tokens = []
    for stride in strides:
        shape = [edge // int(step) for edge, step in zip(shape, stride, strict=True)]
        tokens.append(prod(shape))
    return tokens


def fsad_query_levels(tokens: Sequence[int]) -> list[int]:
    """The deepest levels, shallowest first: as many as the budget allows, at most three, at least one, never 0.

    Three only where they are also a small share of the patch.

    >>> fsad_query_levels([89600, 11200, 1400, 175]), fsad_query_levels([30720, 3840, 480, 60])
    ([2, 3], [2, 3])
    >>> fsad_query_levels([262144, 65536, 16384, 4096, 1024, 256, 64, 16])
    [5, 6, 7]
    """
    deepest = len(tokens) - 1
    for count in range(min(FSAD_MAX_LEVELS, deepest), 1, -1):
        budget = FSAD_TOKEN_BUDGET if count == 2 else min(FSAD_TOKEN_BUDGET, FSAD_SHARE * tokens[0])
        if sum(tokens[-count:]) <= budget:
            return list(range(len(tokens) - count, len(tokens)))
    return [deepest]


def fsad_layers(tokens: Sequence[int]) -> int:
    """Three where the patch is large beside the query positions, fewer where the transformer would dominate the step.

    >>> fsad_layers([89600, 11200, 1400, 175]), fsad_layers([1769472, 442368, 55296, 6912, 864, 216])
    (1, 3)
    """
    query_positions = sum(tokens[level] for level in fsad_query_levels(tokens))
    return max(1, min(FSAD_MAX_LAYERS, int(FSAD_SHARE * tokens[0] / query_positions)))


def head_levels(tokens: Sequence[int]) -> list[int]:
    """Levels for the mask head's layers: the bottleneck, then shallower ones within the budget, never 0.

    >>> head_levels([89600, 11200, 1400, 175])
    [3, 2]
    """
    deepest = len(tokens) - 1
    shallower = (level for level in range(deepest - 1, 0, -1) if tokens[level] <= HEAD_TOKEN_BUDGET)
    return [deepest, *shallower][:HEAD_MAX_LEVELS]


def num_points(patch_size: Sequence[int]) -> int | None:
    """Points of the set loss, None for every voxel.

    >>> num_points((40, 56, 40)), num_points((128, 128, 128))
    (None, 12544)
    """
    return None if prod(int(edge) for edge in patch_size) <= DENSE_LOSS_MAX_VOXELS else NUM_POINTS


def network_settings(
    patch_size: Sequence[int], strides: Sequence[Sequence[int]], *, num_classes: int, regions: bool
) -> dict:
    """What `maskmed_nnu.networks.maskmed.MaskMed` needs beside nnU-Net's own arguments; ready for JSON.

    Raises
    ------
    InputError
        Where the plan has a single level: MaskMed's transformers work on the downsampled ones.
    """
    tokens = tokens_per_level(patch_size, strides)
    if len(tokens) < 2:
        patch = "×".join(str(int(edge)) for edge in patch_size)
        raise InputError(
            f"The images are too small for MaskMed: the planned patch of {patch} voxels allows no downsampling. "
            "It needs at least 8 voxels along one axis after resampling; check the images' spacing or pass a finer "
            "one with -overwrite_target_spacing."
        )
    return MaskMedSettings.plan(
        regions=regions,
        num_queries=num_queries(num_classes),
        head_levels=head_levels(tokens),
        fsad=FSADSettings.plan(query_levels=fsad_query_levels(tokens), layers=fsad_layers(tokens)),
    )


def loss_settings(patch_size: Sequence[int]) -> dict:
    """What `maskmed_nnu.nnunet.training.loss.maskmed_loss` reads from the plans; ready for JSON."""
    return SetLossSettings.plan(num_points=num_points(patch_size))


def explain(name: str, configuration: dict, *, num_classes: int) -> str:
    """A few lines for the user: what was chosen for this configuration, and why."""
    kwargs = configuration["architecture"]["arch_kwargs"]
    tokens = tokens_per_level(configuration["patch_size"], kwargs["strides"])
    patch = "×".join(str(int(edge)) for edge in configuration["patch_size"])
    query_positions = kwargs["fsad"]["query_levels"]
    layers = kwargs["fsad"]["layers"]
    attended = kwargs["head_levels"]
    points = configuration["set_loss"]["num_points"]
    where = "at every voxel of the patch" if points is None else f"at {points:,} points of the patch, mostly uncertain"
    kind = "regions" if kwargs["regions"] else "classes"
    return "\n".join(
        (
            f"MaskMed {name}: patch {patch}, batch size {configuration['batch_size']}, {len(tokens)} levels",
            f"  {kwargs['num_queries']} queries: {QUERIES_PER_CLASS} for each of {num_classes} {kind}, "
            f"rounded up to a multiple of {QUERIES_MULTIPLE}",
            f"  FSAD-Transformer: {layers} layer{'s' * (layers != 1)}, queries on levels {_join(query_positions)} "
            f"({sum(tokens[level] for level in query_positions):,} positions, at most {FSAD_TOKEN_BUDGET:,}), "
            f"values on all {len(tokens)}",
            f"  mask head: attends to levels {_join(attended)} ({_join([f'{tokens[level]:,}' for level in attended])} "
            f"positions, at most {HEAD_TOKEN_BUDGET:,} each)",
            f"  set loss: {where}",
        )
    )


def _join(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items)
