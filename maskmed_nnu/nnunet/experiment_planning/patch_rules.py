"""How scales and patch of a network for objects follow from images, voxels and memory: pure functions.

Lengths are pixels of the planned images; ``voxel`` is their spacing, z first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, inf, log2, prod
from typing import NamedTuple

from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

MIN_STAGES, MAX_STAGES, MIN_BOTTLENECK = 4, 6, 4
MIN_PATCH = MIN_BOTTLENECK * 2 ** (MIN_STAGES - 1)
"""Smaller images are padded, in the plane of a slice."""
MAX_EDGE = {2: 2048, 3: 256}
"""Of the square or cube from which the search for a patch starts, as in nnU-Net."""
MIN_VISIBLE = {2: inf, 3: 64}
"""Edge of the square or cube that a patch need not exceed, where objects do not ask for more. Images are cheap and
shown as memory allows. In volumes the cost grows with the third power of the edge and the objects to learn from with
it, while more steps of few objects teach more than few steps of many."""
VISIBLE_OBJECTS = 4
"""Large objects along each axis of such a patch: half of its objects are whole along an axis, and it holds dozens."""


class Topology(NamedTuple):
    """Of an encoder, for each of its stages."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    def total_strides(self) -> list[tuple[int, ...]]:
        """From the image to each stage.

        >>> Topology(((1, 1, 1), (1, 2, 2), (2, 2, 2)), ()).total_strides()
        [(1, 1, 1), (1, 2, 2), (2, 4, 4)]
        """
        total, found = [1] * len(self.strides[0]), []
        for stride in self.strides:
            total = [a * b for a, b in zip(total, stride, strict=True)]
            found.append(tuple(total))
        return found


def num_stages(patch: Sequence[float]) -> int:
    """Scales of the encoder of a square, each half of the one before: the last has stride 32, or less in small patches.

    >>> num_stages((512, 512)), num_stages((128, 300)), num_stages((64, 64)), num_stages((32, 99))
    (6, 6, 5, 4)
    """
    return min(int(log2(min(patch) / MIN_BOTTLENECK)) + 1, MAX_STAGES)


def topology(patch: Sequence[float], voxel: Sequence[float]) -> Topology:
    """Of images all axes are halved alike. Of volumes it is nnU-Net's: the axis of thick slices is halved, and gets
    kernels of 3, once the others are as coarse, and no axis below 4.

    >>> topology((64, 80), (1, 1)).strides
    ((1, 1), (2, 2), (2, 2), (2, 2), (2, 2))
    >>> thick = topology((20, 96, 96), (5, 1, 1))
    >>> thick.strides, thick.kernels[:3]
    (((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)), ((1, 3, 3), (1, 3, 3), (3, 3, 3)))
    """
    if len(patch) == 2:
        stages = num_stages(patch)
        return Topology(((1, 1), *[(2, 2)] * (stages - 1)), ((3, 3),) * stages)
    _, strides, kernels, _, _ = get_pool_and_conv_props(voxel, patch, MIN_BOTTLENECK, MAX_STAGES - 1)
    return Topology(strides[:MAX_STAGES], kernels[:MAX_STAGES])


def divisible_patch(patch: Sequence[float], voxel: Sequence[float]) -> tuple[int, ...]:
    """Each edge rounded up to what the deepest stride divides, and to the smallest patch.

    >>> square = (1, 1)
    >>> divisible_patch((250, 257), square), divisible_patch((120, 140), square), divisible_patch((9, 50), square)
    ((256, 288), (128, 160), (32, 56))
    >>> divisible_patch((11, 90, 20), (1, 1, 1)), divisible_patch((3, 90, 100), (5, 1, 1))
    ((12, 96, 32), (3, 96, 112))
    """
    patch = (*patch[:-2], *(max(edge, MIN_PATCH) for edge in patch[-2:]))
    divisor = topology(patch, voxel).total_strides()[-1]
    rounded = tuple(ceil(edge / stride) * stride for edge, stride in zip(patch, divisor, strict=True))
    # a larger patch may have one stage more
    return rounded if topology(rounded, voxel).total_strides()[-1] == divisor else divisible_patch(rounded, voxel)


def visible_size(image: Sequence[float], objects: Sequence[float], voxel: Sequence[float]) -> tuple[float, ...]:
    """What a patch has to show of the median ``image`` where large ``objects`` have these edges.

    >>> visible_size((500, 600), (20, 20), (1, 1)), visible_size((99, 500, 600), (20, 20, 20), (1, 1, 1))
    ((500, 600), (80, 80, 80))
    >>> [round(edge) for edge in visible_size((30, 500, 600), (2, 20, 40), (5, 1, 1))]
    [22, 109, 160]
    """
    least = MIN_VISIBLE[len(image)] * prod(voxel) ** (1 / len(image))
    return tuple(
        min(edge, max(least / step, VISIBLE_OBJECTS * large))
        for edge, large, step in zip(image, objects, voxel, strict=True)
    )


def largest_patch(
    image: Sequence[float], voxel: Sequence[float], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[int, ...]:
    """As much of ``image`` as ``fits`` into memory, as nnU-Net searches it.

    The edge that is largest beside the image's is shortened first. A patch of the smallest size is never refused.
    """
    shrink = min((MAX_EDGE[len(image)] ** len(image) / prod(image)) ** (1 / len(image)), 1.0)
    patch = divisible_patch([edge * shrink for edge in image], voxel)
    while not fits(patch):
        smaller = next(_shortened(patch, image, voxel), None)
        if smaller is None:
            break
        patch = smaller
    return patch


def _shortened(patch: tuple[int, ...], image: Sequence[float], voxel: Sequence[float]) -> Iterator[tuple[int, ...]]:
    """Smaller patches, each with another edge shortened, the largest beside the image's first."""
    least = (*[1] * (len(patch) - 2), MIN_PATCH, MIN_PATCH)
    steps = topology(patch, voxel).total_strides()[-1]
    for axis in sorted(range(len(patch)), key=lambda axis: -patch[axis] / image[axis]):
        if patch[axis] > least[axis]:
            edges = [edge - steps[axis] * (index == axis) for index, edge in enumerate(patch)]
            smaller = divisible_patch([max(edge, 1) for edge in edges], voxel)
            if prod(smaller) < prod(patch):  # an axis may be halved more often beside a shorter one
                yield smaller
