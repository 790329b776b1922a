"""The instance planner's choices and their reasons, in words for its user."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from maskmed_nnu.instances.statistics import AXES
from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.experiment_planning import instance_rules, patch_rules
from maskmed_nnu.nnunet.experiment_planning.instance_sizes import InstanceSizes
from maskmed_nnu.nnunet.experiment_planning.patch_rules import Topology
from maskmed_nnu.symmetry.side_names import named_pairs


def explain(configuration: dict, statistics: dict) -> str:
    """What was found in the data set, what was chosen for this configuration, and why."""
    kwargs = configuration["architecture"]["arch_kwargs"]
    sizes = InstanceSizes.from_statistics(statistics, configuration["spacing"])
    patch, volumes = configuration["patch_size"], len(configuration["patch_size"]) == 3
    unit = "voxels" if volumes else "pixels"
    return "\n".join(
        (
            f"IAUNet {'3d_fullres' if volumes else '2d'}: patch {_format_edges(patch)}, batch size "
            f"{configuration['batch_size']}, {kwargs['n_stages']} scales",
            f"  found (lengths in {unit} of the planned images):",
            *(f"  - {line}" for line in _data_set_lines(statistics, min(configuration["spacing"][-2:]))),
            "  chosen:",
            *(f"  - {line}" for line in _choice_lines(configuration, statistics, sizes)),
        )
    )


def _data_set_lines(statistics: dict, pixel: float) -> list[str]:
    lines = []
    for name, one in statistics["classes"].items():
        if one["kind"] == "absent":
            lines.append(f"{name}: declared in dataset.json, but in no label file; it will never be predicted")
        elif one["kind"] == "stuff":
            lines.append(f"{name}: a region without objects (only index 0), segmented but not counted")
        else:
            counts, extent, spans = one["objects_per_slice"], one["extent"]["longer"], one.get("spans")
            images, unit = ("volumes", "voxel") if spans else ("images", "pixel")
            lines.append(
                f"{name}: {one['objects']:,} objects in {statistics['slices']:,} {images}, {counts['50']:g} in the "
                f"median and {counts['max']:g} in the fullest one, none in {one['slices_without']:,}; longer edges of "
                f"{extent['5'] / pixel:.0f} to {extent['95'] / pixel:.0f} (5th and 95th percentile); "
                + (f"seen in {spans['5']:.0f} to {spans['95']:.0f} slices; " if spans else "")
                + ("no overlaps" if one["overlap_depth"] < 2 else f"up to {one['overlap_depth']} share a {unit}")
            )
            if one["unindexed_pixels"]:
                lines.append(f"{name}: regions without ids are crowds, ignored in training")
    names = dict(enumerate(statistics["classes"]))
    lines += [
        f"{names[left]} and {names[right]} differ only in their side, but patches are mirrored in training and "
        "prediction, so the network confuses them: give them one class, and determine the side from the "
        "centroids of the objects"
        for left, right in named_pairs(names)
    ]
    return lines


def _choice_lines(configuration: dict, statistics: dict, sizes: InstanceSizes) -> list[str]:
    kwargs, patch = configuration["architecture"]["arch_kwargs"], configuration["patch_size"]
    volumes, unit = len(patch) == 3, "voxels" if len(patch) == 3 else "pixels"
    strides = Topology(kwargs["strides"], kwargs["kernel_sizes"]).total_strides()
    mask_stride = strides[len(instance_rules.PYRAMID) - len(kwargs["pyramid"])]
    fits = all(
        edge >= instance_rules.LARGE_OBJECTS_PER_PATCH * large for edge, large in zip(patch, sizes.large, strict=True)
    )
    visible = patch_rules.visible_size(sizes.image, sizes.large, sizes.voxel)
    if all(p >= i for p, i in zip(patch, sizes.image, strict=True)):
        seen = "shows whole images"
    elif all(p >= v for p, v in zip(patch, visible, strict=True)):
        seen = "as large as its objects need"
    else:
        seen = "as memory allows"
    context = "holds two large objects side by side" if fits else "is smaller than two large objects side by side"
    expected = instance_rules.instances_per_patch(sizes, patch)
    depth = instance_rules.overlap_depth(statistics)
    layers = configuration["instances"]["layer_classes"]
    names = {one["number"]: name for name, one in statistics["classes"].items()}
    fragments = ", ".join(
        f"{limit} ({names[number]})"
        for number, limit in zip(
            configuration["instances"]["thing_classes"], configuration["instances"]["min_fragment"], strict=True
        )
    )
    return [
        _scale_line(configuration["instances"]["scale"], sizes, mask_stride),
        f"patch {_format_edges(patch)}: {seen}, of {_format_edges(sizes.image)} in the median; it {context} "
        f"({_format_lengths(sizes.large)} {unit} at the 95th percentile)",
        *_large_lines(statistics, sizes, patch),
        f"masks are drawn in windows of {_format_window(kwargs['window'])} {unit}: objects have "
        f"{_format_lengths(sizes.largest)} at the 99th percentile, times {instance_rules.WINDOW_MARGIN:g}, rounded up "
        f"to a multiple of {instance_rules.WINDOW_MULTIPLE[len(patch)]} and no more than the patch",
        f"{kwargs['num_queries']} queries: a patch of a dense image shows {expected:.0f} objects, times "
        f"{instance_rules.QUERY_MARGIN:g}, rounded up to a multiple of {instance_rules.QUERY_MULTIPLE}",
        f"queries are taken from peaks on every {_ordinal(kwargs['query_stride'])} {unit[:-1]}: "
        + (
            f"close neighbours are {_in_plane(sizes.spacing, sizes):.0f} {unit} apart (5th percentile)"
            if isfinite(sizes.spacing)
            else "objects have no neighbours"
        ),
        f"{count(kwargs['blocks_per_level'], 'decoder block')} on each of {count(kwargs['levels'], 'level')}: "
        f"up to {depth} objects of a class share a {unit[:-1]}, and queries must exclude each other"
        if kwargs["blocks_per_level"]
        else "no decoder blocks: objects of a class do not overlap, so their position is enough to separate them",
        f"{count(len(layers), 'layer')} of ids ({', '.join(names[number] for number in layers)}): the number "
        "that holds all objects without overlap",
        f"an object cut off by the border of the patch counts from {fragments} visible {unit}: a quarter of the "
        f"{'volume' if volumes else 'area'} of very small objects",
    ]


def _in_plane(distance: float, sizes: InstanceSizes) -> float:
    """A distance counted in the coarsest edges of a voxel, in pixels of a slice."""
    return distance if len(sizes.voxel) == 2 else distance * max(sizes.voxel) / min(sizes.voxel[-2:])


def _large_lines(statistics: dict, sizes: InstanceSizes, patch: Sequence[int]) -> list[str]:
    """What becomes of objects that are large beside a volume, be it one of thousands."""
    extent, size = statistics["all"]["extent"], statistics["size"]
    share = [extent[axis]["max"] / size[axis]["50"] for axis in AXES[-len(patch) :]]
    if len(patch) == 2 or max(share) <= instance_rules.LARGE_SHARE:
        return []
    largest = [one * edge for one, edge in zip(share, sizes.image, strict=True)]
    fate = (
        "they fit into the patch"
        if all(edge >= large for edge, large in zip(patch, largest, strict=True))
        else "those larger than the patch are merged from the parts in several tiles"
    )
    return [
        f"large objects take up to {max(share):.0%} of the median volume along {AXES[share.index(max(share))]}: {fate}"
    ]


def _scale_line(factor: float, sizes: InstanceSizes, mask_stride: Sequence[int]) -> str:
    edges = [edge / stride for edge, stride in zip(sizes.small, mask_stride, strict=True)]
    cells = f"{_format_lengths(edges)} cells of the mask grid"
    if factor > 1:
        return f"images are enlarged {factor:.3g} times, so that small objects (10th percentile) cover {cells}"
    if factor < 1:
        return (
            f"images are shrunk to {factor:.3g} of their size, so that the largest patch that memory allows holds "
            f"large objects; small ones (10th percentile) then cover {cells}"
        )
    return f"images keep their scale: small objects (10th percentile) cover {cells}"


def _format_edges(edges: Sequence[float]) -> str:
    return "×".join(f"{edge:.0f}" for edge in edges)


def _format_lengths(edges: Sequence[float]) -> str:
    """One number where all are alike."""
    words = [f"{edge:.0f}" for edge in edges]
    return words[0] if len(set(words)) == 1 else "×".join(words)


def _format_window(window: int | Sequence[int]) -> str:
    return str(window) if isinstance(window, int) else _format_edges(window)


def _ordinal(number: int) -> str:
    return {2: "second", 4: "fourth"}[number]
