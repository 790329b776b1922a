"""How IAUNet's numbers follow from a data set's objects: pure functions from statistics to settings.

Lengths are pixels of the planned images, after resampling; vectors have an entry for each axis, z first. A cell is one
position of the mask grid, on which masks are drawn; the query grid is the one whose peaks become queries. "Small" and
"large" objects are those at a percentile of their class, and the class for which it matters most decides, so that a
frequent class does not hide a rare one. What is the same for every data set is in `plans_handling.settings`, what
is about patch and scales in `patch_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, prod

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning.instance_sizes import InstanceSizes, coarse_axes
from maskmed_nnu.nnunet.experiment_planning.patch_rules import Topology
from maskmed_nnu.nnunet.plans_handling.settings.iaunet import IAUNetSettings, ImageQueryLoss

MIN_CELLS = 5
"""Cells of the mask grid across a small object, below which its mask has no shape."""
MAX_GROWTH = 16.0
"""Of the number of pixels or voxels when images are enlarged: 4 times along both axes of a plane."""
LARGE_OBJECTS_PER_PATCH = 2
"""How often a large object fits along an edge of the patch."""
WINDOW_MARGIN, MIN_WINDOW_MARGIN = 1.25, 2
"""Of the largest objects, and in pixels: a window is placed by a guess of the object's centre."""
WINDOW_MULTIPLE = {2: 16, 3: 2}
"""The cells of a window grow with the third power of its edge, and thick slices are few."""
MAX_WINDOW_CELLS = {2: 128, 3: 64}
"""Along each axis."""
QUERY_MARGIN, QUERY_MULTIPLE, MIN_QUERIES = 1.5, 50, 50
QUERY_STRIDES = (4, 2)
PEAK_CELLS = 1.5
"""Cells of the query grid between two centres, below which they are one peak."""
FRAGMENT_SHARE, MIN_FRAGMENT = 0.25, 4
BLOCKS_WITHOUT_OVERLAP, BLOCKS_WITH_OVERLAP = 0, 3
"""Objects that do not overlap are found from their place alone: on nuclei a block cost time and gained nothing."""
PYRAMID = (48, 32, 16)
LARGE_SHARE = 1 / 3
"""Of a volume's edge, from which on an object is called large for it."""
MIN_SPAN = 2
"""Slices that show the median object, from which on volumes are better seen whole."""


def upsampling(sizes: InstanceSizes) -> float:
    """Factor on the images' edges that gives a small object its cells; 1 where it has them.

    >>> sizes = InstanceSizes((12, 12), (40, 40), (61, 61), 12, (40,), 1e-3, 99, (20, 20), (256, 256), (1, 1))
    >>> [upsampling(sizes._replace(small=(edge, edge))) for edge in (12.0, 2.5, 0.5)]
    [1.0, 2.0, 4.0]
    >>> upsampling(sizes._replace(small=(2, 2.5, 2.5), voxel=(5, 1, 1)))  # not finer than the data along z
    2.0
    >>> round(upsampling(sizes._replace(small=(1, 1, 1), voxel=(1, 1, 1))), 2)  # a volume grows along three axes
    2.52
    """
    enlarged = coarse_axes(sizes.voxel).count(False)
    return float(min(max(MIN_CELLS / _small(sizes), 1.0), MAX_GROWTH ** (1 / enlarged)))


def _small(sizes: InstanceSizes) -> float:
    """Shortest edge along the axes whose scale can be chosen."""
    return min(edge for edge, far in zip(sizes.small, coarse_axes(sizes.voxel), strict=True) if not far)


def downsampling(sizes: InstanceSizes, patch: Sequence[int]) -> float:
    """Factor, at least 1, by which images must shrink so that large objects fit twice into the largest patch.

    An axis along which the patch shows the whole image asks for nothing, and small objects keep their cells.

    >>> square = {"mean": (300, 300), "image": (4000, 4000), "voxel": (1, 1)}
    >>> sizes = InstanceSizes((20, 20), (600, 600), (700, 700), 50, (99,), 1e-5, 9, **square)
    >>> downsampling(sizes, (800, 800)), downsampling(sizes._replace(image=(800, 800)), (800, 800))
    (1.5, 1.0)
    >>> downsampling(sizes._replace(small=(6, 6)), (800, 800))
    1.2
    """
    needed = max(
        min(LARGE_OBJECTS_PER_PATCH * large, image) / edge
        for large, image, edge in zip(sizes.large, sizes.image, patch, strict=True)
    )
    return max(1.0, min(needed, _small(sizes) / MIN_CELLS))


def mask_window(sizes: InstanceSizes, patch: Sequence[int]) -> tuple[int, ...]:
    """Edges of the box that a mask is drawn in: hardly any object exceeds it, and it stays within the patch.

    Of images it is square.

    >>> sizes = InstanceSizes((9, 9), (40, 40), (61, 61), 12, (40,), 1e-3, 99, (20, 20), (256, 256), (1, 1))
    >>> mask_window(sizes, (256, 256)), mask_window(sizes, (64, 64))
    ((80, 80), (64, 64))
    >>> thick = sizes._replace(largest=(3, 22.2, 22.2))
    >>> mask_window(thick, (20, 96, 96)), mask_window(thick, (5, 96, 24))
    ((6, 28, 28), (5, 28, 24))
    """
    multiple = WINDOW_MULTIPLE[len(patch)]
    limits = patch if len(patch) > 2 else [max(patch)] * 2
    needed = [max(edge * WINDOW_MARGIN, edge + MIN_WINDOW_MARGIN) for edge in sizes.largest]
    return tuple(min(ceil(edge / multiple) * multiple, limit) for edge, limit in zip(needed, limits, strict=True))


def mask_level(sizes: InstanceSizes, window: Sequence[int], total_strides: Sequence[Sequence[int]]) -> int:
    """The scale that carries the masks: 0, or 1 and 2 where windows would have too many cells and small objects are
    large enough for coarser ones.

    >>> sizes = InstanceSizes((25, 25), (9, 9), (9, 9), 90, (600,), 1e-5, 9, (200, 200), (1024, 1024), (1, 1))
    >>> strides = [(1, 1), (2, 2), (4, 4), (8, 8)]
    >>> mask_level(sizes, (96, 96), strides), mask_level(sizes, (512, 512), strides)
    (0, 2)
    >>> mask_level(sizes._replace(small=(9, 9)), (512, 512), strides)
    0
    >>> thick = sizes._replace(small=(2, 25, 25))
    >>> mask_level(thick, (8, 512, 512), [(1, 1, 1), (1, 2, 2), (2, 4, 4)])  # z is not halved below two slices
    1
    """
    level, dim = 0, len(window)
    while level < len(PYRAMID) - 1:
        now, coarser = total_strides[level : level + 2]
        cells = prod(edge / stride for edge, stride in zip(window, now, strict=True))
        halved = zip(sizes.small, now, coarser, strict=True)
        if cells <= MAX_WINDOW_CELLS[dim] ** dim or any(b > a and edge < b * MIN_CELLS for edge, a, b in halved):
            break
        level += 1
    return level


def query_stride(sizes: InstanceSizes, total_strides: Sequence[Sequence[int]]) -> int:
    """4, or 2 where close neighbours would fall onto one peak: the largest edge of a cell of the query grid in pixels.

    Axes that are not halved up to there are not counted: a finer grid would not tell more along them.

    >>> sizes = InstanceSizes((9, 9), (40, 40), (61, 61), 12, (40,), 1e-3, 99, (20, 20), (256, 256), (1, 1))
    >>> strides = [(1, 1), (2, 2), (4, 4), (8, 8)]
    >>> query_stride(sizes, strides), query_stride(sizes._replace(spacing=5), strides)
    (4, 2)
    >>> thick = sizes._replace(spacing=1.3, voxel=(5, 1, 1))
    >>> query_stride(thick, [(1, 1, 1), (1, 2, 2), (1, 4, 4)]), query_stride(thick, [(1, 1, 1), (1, 2, 2), (2, 4, 4)])
    (4, 2)
    """
    for stride in QUERY_STRIDES:
        cell = next((one for one in total_strides if max(one) == stride), None)
        if cell is not None:
            edges = [step * edge for step, edge in zip(cell, sizes.voxel, strict=True) if step > 1]
            if sizes.spacing >= PEAK_CELLS * max(edges) / max(sizes.voxel):
                return stride
    return QUERY_STRIDES[-1]


def instances_per_patch(sizes: InstanceSizes, patch: Sequence[int]) -> float:
    """Objects that a patch in a dense image shows, those at its border included; never more than any image has."""
    reach = prod(edge + mean for edge, mean in zip(patch, sizes.mean, strict=True))
    return min(sizes.density * reach, sizes.max_count)


def num_queries(sizes: InstanceSizes, patch: Sequence[int]) -> int:
    """Half as many again as a dense patch has objects, rounded up to a multiple of 50.

    >>> sizes = InstanceSizes((9, 9), (40, 40), (61, 61), 12, (40,), 0.001, 99, (20, 20), (256, 256), (1, 1))
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


def network_settings(statistics: dict, sizes: InstanceSizes, patch: Sequence[int], encoder: Topology) -> dict:
    """What `maskmed_nnu.networks.iaunet.IAUNet` needs beside nnU-Net's own arguments; ready for JSON.

    ``patch`` and ``encoder`` are those planned. The three finest scales carry masks and queries, the deeper ones are
    read by the queries.
    """
    classes = statistics["classes"].values()
    strides = encoder.total_strides()
    window = mask_window(sizes, patch)
    level = mask_level(sizes, window, strides)
    return IAUNetSettings.plan(
        num_things=sum(one["kind"] == "thing" for one in classes),
        levels=len(strides) - len(PYRAMID),
        blocks_per_level=BLOCKS_WITHOUT_OVERLAP if overlap_depth(statistics) < 2 else BLOCKS_WITH_OVERLAP,
        pyramid=list(PYRAMID[: len(PYRAMID) - level]),
        num_queries=num_queries(sizes, patch),
        query_stride=max(query_stride(sizes, strides), max(strides[level])),
        window=list(window) if len(window) > 2 else window[0],
    )


def loss_settings() -> dict:
    """What the trainer builds `LocationCriterion` from, and the weight of the dense head beside it; ready for JSON."""
    return ImageQueryLoss.plan()


def recommendation(statistics: dict[int, dict]) -> dict[int, str]:
    """Of slices and volumes, which to take and why, by the number of axes; ``statistics`` by that number, too.

    >>> recommendation({2: {}, 3: {"all": {"spans": {"50": 1.0}}}})[2]
    'take this one: half of the objects or more are in a single slice, so they have no shape along z'
    """
    if 3 not in statistics:
        return {}
    span = statistics[3]["all"]["spans"]["50"]
    if span < MIN_SPAN:
        reason = "half of the objects or more are in a single slice, so they have no shape along z"
        return {2: f"take this one: {reason}", 3: f"take 2d: {reason}"}
    return {
        2: "take 3d_fullres: this configuration predicts slice by slice and does not link the ids",
        3: f"take this one: the median object spans {span:g} slices and has one id in all of them",
    }


def mixed_sentence(name: str, flat: int, images: int) -> str:
    """Why a data set with ``flat`` images of one slice among volumes has no 3d_fullres."""
    return (
        f"only 2d is planned: {flat:,} of the {images:,} images of {name} {'has' if flat == 1 else 'have'} one slice, "
        f"which 3d_fullres cannot be trained on; remove {'it' if flat == 1 else 'them'} from the data set to plan it."
    )


def no_instances_error(name: str, images: int, classes: Iterable[str]) -> InputError:
    """The error for a data set in which there is no object to learn from."""
    return InputError(
        f"{name} has no objects: all {images} label files lack an id of {', '.join(classes)} (with a "
        "label_divisor, ids are class * label_divisor + index, and index 0 is stuff). Check the files in labelsTr, or "
        "plan it with MaskMedPlanner if it is a semantic data set."
    )
