"""Label maps that cannot be what their maker meant: lossy or interpolated values, ids that wrapped, outlines.

The rule for interpolation was set on data: of the steps from one value to another in the real label maps that the tests
use, at most 12 in 1000 go on in the same direction at the next pixel; after interpolation it is 1 in 5 or more, after
JPEG 1 in 9 or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from skimage.measure import regionprops
from tifffile import COMPRESSION

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.array_types import Integers
from maskmed_nnu.instances.components import components, count_pieces, objects_in_pieces
from maskmed_nnu.instances.formats.pictures import open_picture
from maskmed_nnu.instances.text import format_list

MIN_BETWEEN_SHARE = 0.1  # of the steps from one value to another: below, touching slivers explain it
MIN_BETWEEN = 10  # pixels, so that a few odd ones in a small map are no evidence
PICTURE_SHARE = 0.5  # of neighbours that differ: a label map is flat nearly everywhere, a picture nowhere
WRAPPING_LIMITS = (2**8 - 1, 2**16 - 1)
MIN_WRAPPED = 3  # ids found twice, far apart
MIN_WRAPPED_SHARE = 0.8  # of the lowest ids
MIN_OUTLINE = 5  # pixels of its shorter edge: smaller rings are blobs
SURROUNDING_SHARE = 0.9  # of the border's pixels
LOSSY_TIFF = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.JPEG_LOSSY, COMPRESSION.JPEGXR)
LOSSY = "lossy compression blurs its ids, so save the original mask as PNG or TIFF"
GO_BACK = (
    "as left by interpolation or lossy compression (JPEG); go back to the original mask, resize it "
    "with nearest neighbour only, and save it as PNG or TIFF"
)


class Steps(NamedTuple):
    """How the values of a map change from pixel to pixel.

    ``share`` of the neighbours differ. ``between`` pixels have a value strictly between those of the two pixels beside
    them, which is ``between_share`` of the changes; they hold ``values`` different values.
    """

    share: float
    between: int
    between_share: float
    values: int

    @property
    def have_rims(self) -> bool:
        """Whether areas run into each other over values in between, more often than by chance."""
        return self.between >= MIN_BETWEEN and self.between_share >= MIN_BETWEEN_SHARE


def check_lossless(path: Path) -> None:
    """Refuse a mask in a JPEG file, whatever its ending, or in a TIFF compressed like one.

    Raises:
        InputError: with the cause and the cure.
    """
    kind = formats.ending(path)
    if kind in formats.TIFF:
        with tifffile.TiffFile(path) as file:
            lossy = file.pages.first.compression in LOSSY_TIFF
        if lossy:
            raise InputError(f"{path} is compressed as a JPEG inside its TIFF, and is not a label map: {LOSSY}.")
    elif kind in formats.IMAGE_2D:
        with open_picture(path) as image:
            lossy = image.format in ("JPEG", "MPO")
        if lossy:
            inside = "," if kind in (".jpg", ".jpeg") else f", though it is called {kind}, and"
            raise InputError(f"{path} is a JPEG{inside} not a label map: {LOSSY}.")


def measure_steps(values: NDArray[Any]) -> Steps:
    """The `Steps` of ``values [*axes]``, along every axis; along the slices of a volume only if objects go on there."""
    steps = neighbours = between = 0
    found: list[NDArray[Any]] = []
    views = [np.moveaxis(values, axis, 0) for axis in range(values.ndim)]
    going_on = [along for along in views if not _is_cut_into_slices(along)]
    for along in going_on if len(going_on) > 1 else views:
        rise, fall = along[1:] > along[:-1], along[1:] < along[:-1]
        steps += np.count_nonzero(rise) + np.count_nonzero(fall)
        neighbours += rise.size
        inside = (rise[1:] & rise[:-1]) | (fall[1:] & fall[:-1])
        between += np.count_nonzero(inside)
        found.append(np.unique(along[1:-1][inside]))
    different = len(np.unique(np.concatenate(found))) if found else 0
    return Steps(steps / max(neighbours, 1), between, between / max(steps, 1), different)


def _is_cut_into_slices(values: NDArray[Any]) -> bool:
    """Whether most of what is not background is found in one slice and neither in the one before nor the one after.

    Ids of objects as thin as a slice, or numbered in each slice anew, rise and fall from slice to slice by chance.
    """
    change, inside = values[1:] != values[:-1], values[1:-1] != 0
    return bool(2 * np.count_nonzero(change[1:] & change[:-1] & inside) > np.count_nonzero(inside))


def implausible_values(values: NDArray[Any], *, semantic: bool) -> str | None:
    """Why ``values [*axes]`` are no ids or classes as they were drawn, as a clause; None where they may be.

    Classes may be nested in thin layers, the middle one between its neighbours in number, too; three of them cannot.
    """
    steps = measure_steps(values)
    if not steps.have_rims or steps.values < 2 + semantic:
        return None
    if steps.share > PICTURE_SHARE:
        return (
            "holds an image, because most pixels differ from their neighbours; give the mask, which is constant in "
            "every object"
        )
    return f"is not a label map: between areas it has {steps.values} intermediate values, {GO_BACK}"


def looks_like_labels(values: NDArray[Any]) -> bool:
    """Whether ``values [*axes]`` of an image are flat and sharp, as those of a label map are."""
    steps = measure_steps(values)
    return steps.share < PICTURE_SHARE / 2 and steps.between_share < MIN_BETWEEN_SHARE and values.min() != values.max()


def wrapped_ids(ids: Integers) -> str | None:
    """The evidence that ``ids [*axes]`` were cut to 8 or 16 bits, as a clause; None without.

    Objects numbered 1, 2, 3 … turn 257 into 1 in 8 bits: the highest id is exactly 255, and the lowest ones are found
    twice, far apart.
    """
    highest = int(ids.max(initial=0))
    if highest not in WRAPPING_LIMITS:
        return None
    far = _far_apart(ids)
    lowest = max((n for n, number in enumerate(far, 1) if n >= MIN_WRAPPED_SHARE * number), default=0)
    if lowest < max(MIN_WRAPPED, MIN_WRAPPED_SHARE * len(far)):
        return None
    return (
        f"holds ids that overflowed: the highest one is {highest}, the last of {highest.bit_length()} bits, and the "
        f"ids {format_list(far, limit=5)} are found twice or more, far apart, because {highest + 2} becomes 1; write "
        "the label map again with 16 or 32 bits"
    )


def thin_values(values: Integers) -> tuple[int, ...]:
    """The values other than 0 of a map ``[*axes]`` that have no pixel with all its neighbours of the same value."""
    inside = np.ones(values.shape, bool)
    for axis in range(values.ndim):
        along, kept = np.moveaxis(values, axis, 0), np.moveaxis(inside, axis, 0)
        same = along[1:] == along[:-1]
        kept[1:] &= same
        kept[:-1] &= same
    return tuple(int(v) for v in np.setdiff1d(values, values[inside]) if v)


def surrounding_value(values: Integers) -> int:
    """The value other than 0 that covers the border of a plane ``[..., Y, X]``, as only background does; or 0."""
    border = np.concatenate([values[..., [0, -1], :].ravel(), values[..., [0, -1]].ravel()])
    found, counts = np.unique(border, return_counts=True)
    most = int(np.argmax(counts))
    return int(found[most]) if counts[most] >= SURROUNDING_SHARE * border.size else 0


def are_outlines(ids: Integers) -> bool:
    """Whether most objects of an image ``ids [Y, X]`` are closed curves, which enclose more than they cover."""
    regions = [region for region in regionprops(ids) if min(region.image.shape) >= MIN_OUTLINE]
    closed = [r for r in regions if r.extent < 0.5 and binary_fill_holes(r.image).sum() > 2 * r.image.sum()]
    return len(closed) > len(regions) / 2


def _far_apart(ids: Integers) -> list[int]:
    """Ids of which two pieces are farther apart than the larger one is long."""
    pieces = components(ids)
    boxes = {region.label: np.array(region.bbox).reshape(2, -1) for region in regionprops(pieces)}
    far = []
    for number, parts, sizes in objects_in_pieces(pieces, ids):
        if count_pieces(sizes) > 1:
            (low, high), (other_low, other_high) = boxes[int(parts[0])], boxes[int(parts[1])]
            gap = np.maximum(other_low - high, low - other_high).max()
            if gap > max((high - low).max(), (other_high - other_low).max()):
                far.append(number)
    return far
