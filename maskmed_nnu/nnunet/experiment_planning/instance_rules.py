"""How IAUNet's numbers follow from a data set's objects: pure functions from statistics to settings.

Lengths are pixels of the planned images, after resampling. A cell is one position of the mask grid, on which masks are
drawn; the query grid is the one whose peaks become queries. "Small" and "large" objects are those at a percentile of
their class, and the class for which it matters most decides, so that a frequent class does not hide a rare one. What
is the same for every data set stands in `plans_handling.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil, log2, prod
from typing import NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.settings.iaunet import IAUNetSettings, ImageQueryLoss

MIN_CELLS = 5
"""Cells of the mask grid across a small object, below which its mask has no shape."""
MAX_UPSAMPLING = 4.0
LARGE_OBJECTS_PER_PATCH = 2
"""How often a large object fits along an edge of the patch."""
WINDOW_MARGIN, WINDOW_MULTIPLE, MAX_WINDOW_CELLS = 1.25, 16, 128
QUERY_MARGIN, QUERY_MULTIPLE, MIN_QUERIES = 1.5, 50, 50
QUERY_STRIDES = (4, 2)
PEAK_CELLS = 1.5
"""Cells of the query grid between two centres, below which they are one peak."""
FRAGMENT_SHARE, MIN_FRAGMENT = 0.25, 4
BLOCKS_WITHOUT_OVERLAP, BLOCKS_WITH_OVERLAP = 0, 3
"""Objects that do not overlap are found from their place alone: on nuclei a block cost time and gained nothing."""
MIN_STAGES, MAX_STAGES, MIN_BOTTLENECK = 4, 6, 4
MIN_PATCH = MIN_BOTTLENECK * 2 ** (MIN_STAGES - 1)
"""Smaller images are padded."""
PYRAMID = (48, 32, 16)
MAX_PIXELS = 2048**2
"""Where the search for a patch starts, as in nnU-Net."""


class InstanceSizes(NamedTuple):
    """What the rules need to know of the things in a data set."""

    small: float
    """shorter edge of a small object (10th percentile)"""
    large: float
    """longer edge of a large object (95th percentile)"""
    largest: float
    """longer edge that hardly any object exceeds (99th percentile)"""
    spacing: float
    """between centres of a class where objects are close (5th percentile); infinite where they are always alone"""
    small_areas: tuple[float, ...]
    """area of a very small object (5th percentile) of each thing class"""
    density: float
    """objects per pixel in dense images (99th percentile)"""
    max_count: int
    """objects in the fullest image"""
    mean: tuple[float, float]
    """mean edges of an object, y and x"""
    image: tuple[float, float]
    """edges of the median image, y and x"""

    @classmethod
    def from_statistics(cls, statistics: dict, spacing: Sequence[float]) -> InstanceSizes:
        """From `maskmed_nnu.instances.statistics.summarise`, for images resampled to ``spacing`` (y, x)."""
        things = [one for one in statistics["classes"].values() if one["kind"] == "thing"]
        # box edges are measured along the axes; in a pixel that is not square the coarser edge is the cautious one
        coarse, fine, area = max(spacing), min(spacing), prod(spacing)
        everything = statistics["all"]
        close = [one["spacing"]["5"] for one in things if one["spacing"]]
        return cls(
            small=min(one["extent"]["shorter"]["10"] for one in things) / coarse,
            large=max(one["extent"]["longer"]["95"] for one in things) / fine,
            largest=max(one["extent"]["longer"]["99"] for one in things) / fine,
            spacing=min(close, default=float("inf")) / coarse,
            small_areas=tuple(one["area"]["5"] / area for one in things),
            density=everything["density"]["99"] * area,
            max_count=int(everything["objects_per_slice"]["max"]),
            mean=tuple(everything["extent"][axis]["mean"] / edge for axis, edge in zip("yx", spacing, strict=True)),
            image=tuple(statistics["size"][axis]["50"] / edge for axis, edge in zip("yx", spacing, strict=True)),
        )


def upsampling(small: float) -> float:
    """Factor on the images' edges that gives a small object its cells; 1 where it has them, at most 4.

    >>> upsampling(12.0), upsampling(2.5), upsampling(0.5)
    (1.0, 2.0, 4.0)
    """
    return min(max(MIN_CELLS / small, 1.0), MAX_UPSAMPLING)


def downsampling(sizes: InstanceSizes, patch: Sequence[int]) -> float:
    """Factor, at least 1, by which images must shrink so that large objects fit twice into the largest patch.

    An axis along which the patch shows the whole image asks for nothing, and small objects keep their cells.

    >>> sizes = InstanceSizes(20, 600, 700, 50, (99,), 1e-5, 9, (300, 300), (4000, 4000))
    >>> downsampling(sizes, (800, 800)), downsampling(sizes._replace(image=(800, 800)), (800, 800))
    (1.5, 1.0)
    >>> downsampling(sizes._replace(small=6), (800, 800))
    1.2
    """
    needed = max(
        min(LARGE_OBJECTS_PER_PATCH * sizes.large, image) / edge for image, edge in zip(sizes.image, patch, strict=True)
    )
    return max(1.0, min(needed, sizes.small / MIN_CELLS))


def num_stages(patch: Sequence[float]) -> int:
    """Scales of the encoder, each half of the one before: the last has stride 32, or less in small patches.

    >>> num_stages((512, 512)), num_stages((128, 300)), num_stages((64, 64)), num_stages((32, 99))
    (6, 6, 5, 4)
    """
    return min(int(log2(min(patch) / MIN_BOTTLENECK)) + 1, MAX_STAGES)


def divisible_patch(patch: Sequence[float]) -> tuple[int, ...]:
    """Each edge rounded up to what the deepest stride divides, and to the smallest patch.

    >>> divisible_patch((250, 257)), divisible_patch((120, 140)), divisible_patch((9, 50))
    ((256, 288), (128, 160), (32, 56))
    """
    patch = tuple(max(edge, MIN_PATCH) for edge in patch)
    stride = 2 ** (num_stages(patch) - 1)
    rounded = tuple(ceil(edge / stride) * stride for edge in patch)
    # a larger patch may have one stage more
    return rounded if num_stages(rounded) == num_stages(patch) else divisible_patch(rounded)


def largest_patch(image: Sequence[float], fits: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """As much of the median image as ``fits`` into memory, as nnU-Net searches it.

    The edge that is largest beside the image's is shortened first. A patch of the smallest size is never refused.
    """
    shrink = min((MAX_PIXELS / prod(image)) ** 0.5, 1.0)
    patch = divisible_patch([edge * shrink for edge in image])
    while not fits(patch) and max(patch) > MIN_PATCH:
        axes = [axis for axis, edge in enumerate(patch) if edge > MIN_PATCH]
        axis = max(axes, key=lambda axis: patch[axis] / image[axis])
        stride = 2 ** (num_stages(patch) - 1)
        patch = divisible_patch([edge - stride * (index == axis) for index, edge in enumerate(patch)])
    return patch


def mask_window(sizes: InstanceSizes, patch: Sequence[int]) -> int:
    """Edge of the square that a mask is drawn in: hardly any object exceeds it, and it stays within the patch.

    >>> sizes = InstanceSizes(9, 40, 61, 12, (40,), 1e-3, 99, (20, 20), (256, 256))
    >>> mask_window(sizes, (256, 256)), mask_window(sizes, (64, 64))
    (80, 64)
    """
    needed = ceil(sizes.largest * WINDOW_MARGIN / WINDOW_MULTIPLE) * WINDOW_MULTIPLE
    return min(needed, max(patch))


def mask_stride(sizes: InstanceSizes, window: int) -> int:
    """1, or 2 and 4 where windows would have too many cells and small objects are large enough for coarser ones.

    >>> sizes = InstanceSizes(25, 300, 400, 90, (600,), 1e-5, 9, (200, 200), (1024, 1024))
    >>> mask_stride(sizes, 96), mask_stride(sizes, 512), mask_stride(sizes._replace(small=9), 512)
    (1, 4, 1)
    """
    stride = 1
    while stride < QUERY_STRIDES[0] and window / stride > MAX_WINDOW_CELLS and sizes.small >= 2 * stride * MIN_CELLS:
        stride *= 2
    return stride


def query_stride(sizes: InstanceSizes) -> int:
    """4, or 2 where close neighbours would fall onto one peak.

    >>> sizes = InstanceSizes(9, 40, 61, 12, (40,), 1e-3, 99, (20, 20), (256, 256))
    >>> query_stride(sizes), query_stride(sizes._replace(spacing=5))
    (4, 2)
    """
    return next((stride for stride in QUERY_STRIDES if sizes.spacing >= PEAK_CELLS * stride), QUERY_STRIDES[-1])


def instances_per_patch(sizes: InstanceSizes, patch: Sequence[int]) -> float:
    """Objects that a patch in a dense image shows, those at its border included; never more than any image has."""
    reach = prod(edge + mean for edge, mean in zip(patch, sizes.mean, strict=True))
    return min(sizes.density * reach, sizes.max_count)


def num_queries(sizes: InstanceSizes, patch: Sequence[int]) -> int:
    """Half as many again as a dense patch has objects, rounded up to a multiple of 50.

    >>> sizes = InstanceSizes(9, 40, 61, 12, (40,), 0.001, 99, (20, 20), (256, 256))
    >>> num_queries(sizes, (256, 256)), num_queries(sizes, (64, 64))
    (150, 50)
    """
    needed = QUERY_MARGIN * instances_per_patch(sizes, patch)
    return max(ceil(needed / QUERY_MULTIPLE) * QUERY_MULTIPLE, MIN_QUERIES)


def overlap_depth(statistics: dict) -> int:
    """Most objects of one class at one pixel."""
    return max(one["overlap_depth"] for one in statistics["classes"].values())


def instance_settings(statistics: dict, sizes: InstanceSizes) -> dict:
    """What of the settings `InstanceSettings` follows from the objects; ready for JSON."""
    classes = statistics["classes"].values()
    things = [one for one in classes if one["kind"] == "thing"]
    return {
        "thing_classes": [one["number"] for one in things],
        "stuff_classes": [one["number"] for one in classes if one["kind"] != "thing"],
        "layer_classes": [one["number"] for one in things for _ in range(one["layers"])],
        "min_fragment": [max(round(FRAGMENT_SHARE * area), MIN_FRAGMENT) for area in sizes.small_areas],
    }


def network_settings(statistics: dict, sizes: InstanceSizes, patch: Sequence[int], stages: int) -> dict:
    """What `maskmed_nnu.networks.iaunet.IAUNet` needs beside nnU-Net's own arguments; ready for JSON.

    ``patch`` and ``stages`` are those of the planned encoder. The three finest scales carry masks and queries, the
    deeper ones are read by the queries.
    """
    classes = statistics["classes"].values()
    window = mask_window(sizes, patch)
    stride = mask_stride(sizes, window)
    return IAUNetSettings.plan(
        num_things=sum(one["kind"] == "thing" for one in classes),
        levels=stages - len(PYRAMID),
        blocks_per_level=BLOCKS_WITHOUT_OVERLAP if overlap_depth(statistics) < 2 else BLOCKS_WITH_OVERLAP,
        pyramid=list(PYRAMID[: len(PYRAMID) - int(log2(stride))]),
        num_queries=num_queries(sizes, patch),
        query_stride=max(query_stride(sizes), stride),
        window=window,
    )


def loss_settings() -> dict:
    """What the trainer builds `LocationCriterion` from, and the weight of the dense head beside it; ready for JSON."""
    return ImageQueryLoss.plan()


def no_instances_error(name: str, images: int, classes: Iterable[str]) -> InputError:
    """The error for a data set in which there is no object to learn from."""
    return InputError(
        f"{name} has no objects: all {images} label files are without an id of {', '.join(classes)} (with a "
        "label_divisor, ids are class * label_divisor + index, and index 0 is stuff). Check the files in labelsTr, or "
        "plan it with MaskMedPlanner if it is a semantic data set."
    )
