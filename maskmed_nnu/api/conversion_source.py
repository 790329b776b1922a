"""Which source the arguments of ``mm.convert`` name, and whether they go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.cell_tracking_source import CellTrackingSource
from maskmed_nnu.instances.conversion.component_source import ComponentSource
from maskmed_nnu.instances.conversion.source_case import Source
from maskmed_nnu.instances.conversion.sources import (
    CocoSource,
    LabelMapSource,
    MaskPerObjectSource,
    SemanticSource,
)

SOURCES = (
    {"coco", "images"},
    {"images", "masks"},
    {"images"},
    {"dsb"},
    {"images", "masks", "semantic"},
    {"images", "semantic"},
    {"images", "masks", "components"},
    {"images", "components"},
    {"ctc"},
)
"""What may be given together."""


def check_components(components: bool, connectivity: int | None, min_volume: float | None, split_pieces: bool) -> None:
    """Raises: InputError where the options of components do not go together or are out of range."""
    if not components and (connectivity is not None or min_volume is not None):
        name = "connectivity" if connectivity is not None else "min_volume"
        raise InputError(f"{name} applies to components only; give components too if the masks hold classes.")
    if connectivity not in (None, 1, 2, 3):
        raise InputError(f"connectivity is {connectivity}; it must be 1, 2 or 3: neighbours at a face, edge or corner.")
    if min_volume is not None and not 0 <= min_volume < float("inf"):
        raise InputError(f"min_volume is {min_volume:g}; it must be a number of mm³ (in 2D mm²) of 0 or more.")
    if components and split_pieces:
        raise InputError("components already makes each piece an object; leave split_pieces out.")


def checked_spacing(spacing: Sequence[float] | None) -> tuple[float, ...] | None:
    """``spacing`` of stacks, None where it is not given.

    Raises:
        InputError: where it is none.
    """
    if not spacing:
        return None
    if len(spacing) != 3 or not all(0 < length < float("inf") for length in spacing):
        raise InputError(
            f"spacing is {' '.join(f'{length:g}' for length in spacing)}; give three positive numbers, in micrometres: "
            "between slices, rows and columns."
        )
    return tuple(float(length) for length in spacing)


def choose_source(
    files: dict[str, Path],
    kinds: list[str],
    classes: list[str],
    *,
    components: dict[str, Any],
    axes: str | None,
    spacing: tuple[float, ...] | None,
) -> Source:
    """The source that ``files`` by their parameters, and ``kinds`` of masks, name; ``components`` are further options.

    Raises:
        InputError: where they name none, or its files are faulty.
    """
    given = [*files, *kinds]
    if set(given) not in SOURCES:
        found = f"{' and '.join(given)} is not a source to convert" if given else "There is no source to convert"
        raise InputError(
            f"{found}; give coco and images, or images and "
            "masks (and semantic or components if masks hold classes), or images alone with masks in the same "
            "folder, or dsb, or ctc."
        )
    if spacing and given[0] in ("coco", "dsb"):
        raise InputError(f"spacing applies to TIFF stacks, but {given[0]} has flat images; leave it out.")
    if "coco" in files:
        return CocoSource(files["coco"], files["images"], classes or None, order=axes)
    if "semantic" in kinds:
        return SemanticSource(files["images"], files.get("masks"), order=axes, spacing=spacing)
    if "components" in kinds:
        parts = files["images"], files.get("masks")
        return ComponentSource(*parts, classes or None, **components, order=axes, spacing=spacing)
    names = classes or ["object"]
    if len(names) > 1:
        raise InputError(
            f"classes names {len(names)} classes, but masks of objects have one class; give one name (several classes "
            "come from COCO json, or from components)."
        )
    if "dsb" in files:
        return MaskPerObjectSource(files["dsb"], names[0], order=axes)
    if "ctc" in files:
        return CellTrackingSource(files["ctc"], names[0], order=axes, spacing=spacing)
    return LabelMapSource(files["images"], files.get("masks"), names[0], order=axes, spacing=spacing)
