"""The instance planner's choices and their reasons, in words for its user."""

from __future__ import annotations

from collections.abc import Sequence

from maskmed_nnu.instances.text import count
from maskmed_nnu.nnunet.experiment_planning import instance_rules
from maskmed_nnu.nnunet.experiment_planning.instance_rules import InstanceSizes


def explain(configuration: dict, statistics: dict) -> str:
    """What was found in the data set, what was chosen for this configuration, and why."""
    kwargs = configuration["architecture"]["arch_kwargs"]
    sizes = InstanceSizes.from_statistics(statistics, configuration["spacing"])
    patch = configuration["patch_size"]
    stride = 2 ** (len(instance_rules.PYRAMID) - len(kwargs["pyramid"]))
    return "\n".join(
        (
            f"IAUNet 2d: patch {_format_edges(patch)}, batch size {configuration['batch_size']}, "
            f"{kwargs['n_stages']} scales",
            "  found (lengths in pixels of the planned images):",
            *(f"  - {line}" for line in _data_set_lines(statistics, min(configuration["spacing"]))),
            "  chosen:",
            *(f"  - {line}" for line in _choice_lines(configuration, statistics, sizes, stride)),
        )
    )


def _data_set_lines(statistics: dict, pixel: float) -> list[str]:
    lines = []
    for name, one in statistics["classes"].items():
        if one["kind"] == "absent":
            lines.append(f"{name}: declared in dataset.json, but found in no label file; it will never be predicted")
        elif one["kind"] == "stuff":
            lines.append(f"{name}: a region without objects (only index 0), segmented but not counted")
        else:
            counts, extent = one["objects_per_slice"], one["extent"]["longer"]
            lines.append(
                f"{name}: {one['objects']:,} objects in {statistics['slices']:,} images, {counts['50']:g} in the "
                f"median and {counts['max']:g} in the fullest one, none in {one['slices_without']:,}; longer edges of "
                f"{extent['5'] / pixel:.0f} to {extent['95'] / pixel:.0f} (5th and 95th percentile); "
                + ("no overlaps" if one["overlap_depth"] < 2 else f"up to {one['overlap_depth']} share a pixel")
            )
            if one["unindexed_pixels"]:
                lines.append(f"{name}: regions without ids are crowds, ignored in training")
    return lines


def _choice_lines(configuration: dict, statistics: dict, sizes: InstanceSizes, stride: int) -> list[str]:
    kwargs, patch = configuration["architecture"]["arch_kwargs"], configuration["patch_size"]
    fits = min(patch) >= instance_rules.LARGE_OBJECTS_PER_PATCH * sizes.large
    seen = "shows whole images" if all(p >= i for p, i in zip(patch, sizes.image, strict=True)) else "as memory allows"
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
        _scale_line(configuration["instances"]["scale"], sizes, stride),
        f"patch {_format_edges(patch)}: {seen}, of {_format_edges(sizes.image)} in the median; it {context} "
        f"({sizes.large:.0f} pixels at the 95th percentile)",
        f"masks are drawn in windows of {kwargs['window']} pixels: objects have {sizes.largest:.0f} at the 99th "
        f"percentile, times {instance_rules.WINDOW_MARGIN:g}, rounded up to a multiple of "
        f"{instance_rules.WINDOW_MULTIPLE} and no more than the patch",
        f"{kwargs['num_queries']} queries: a patch of a dense image shows {expected:.0f} objects, times "
        f"{instance_rules.QUERY_MARGIN:g}, rounded up to a multiple of {instance_rules.QUERY_MULTIPLE}",
        f"queries are taken from peaks on every {_ordinal(kwargs['query_stride'])} pixel: close neighbours are "
        f"{sizes.spacing:.0f} pixels apart (5th percentile)",
        f"{count(kwargs['blocks_per_level'], 'decoder block')} on each of {count(kwargs['levels'], 'level')}: "
        f"up to {depth} objects of a class share a pixel, which the queries settle among themselves"
        if kwargs["blocks_per_level"]
        else "no decoder blocks: objects of a class do not overlap, their place alone tells them apart",
        f"{count(len(layers), 'layer')} of ids ({', '.join(names[number] for number in layers)}): as many as hold "
        "all objects without overlap",
        f"an object cut off by the patch's border counts from {fragments} visible pixels on: a quarter of the area of "
        "very small objects",
    ]


def _scale_line(factor: float, sizes: InstanceSizes, stride: int) -> str:
    cells = f"{sizes.small / stride:.0f} cells of the mask grid"
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


def _ordinal(number: int) -> str:
    return {2: "second", 4: "fourth"}[number]
