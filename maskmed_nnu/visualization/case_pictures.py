"""Truth and prediction drawn over an image: the truth as an area, what was found as a line."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from scipy import ndimage

from maskmed_nnu.visualization.outlines import COLOURS
from maskmed_nnu.visualization.overlay import class_colour

AREA_OPACITY = 0.4
FEW = 40
"""Labels of a map up to which their borders are drawn smoothly."""
SHRUNK_BACKGROUND = 0.3
"""What background counts for where a picture is smaller than its image, so that small things do not vanish."""
QUALITIES = (85, 70, 55, 40, 25)
"""Of JPEG, best first."""


@dataclass(frozen=True)
class Layer:
    """Areas and lines ``[*spatial]`` of whole numbers, 0 where there is nothing; each has its colour ``[n, 3]``."""

    areas: NDArray[Any]
    lines: NDArray[Any]
    area_colours: NDArray[np.uint8]
    line_colours: NDArray[np.uint8]


def distinct_colours(number: int) -> list[str]:
    """As hex: those that colour-blind readers can tell apart, as long as they last."""
    if number <= len(COLOURS) - 1:  # the last one is grey, as images are
        return list(COLOURS[:number])
    return ["#{:02x}{:02x}{:02x}".format(*class_colour(index + 1).astype(int)) for index in range(number)]


def colour_table(colours: Sequence[str]) -> NDArray[np.uint8]:
    """``[n + 1, 3]``: black for 0, then ``colours``."""
    return np.array([(0, 0, 0), *map(ImageColor.getrgb, colours)], np.uint8)


def picture_size(shape: tuple[int, int], pixel: tuple[float, float], longest: int) -> tuple[int, int]:
    """Height and width of a picture with square pixels of an image ``[rows, columns]`` with others.

    >>> picture_size((10, 40), (4.0, 1.0), 200), picture_size((10, 40), (1.0, 1.0), 200)
    ((200, 200), (50, 200))
    """
    height, width = shape[0] * pixel[0], shape[1] * pixel[1]
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def draw_case(
    image: NDArray[Any], layers: Sequence[Layer], *, size: tuple[int, int], window: tuple[float, float]
) -> NDArray[np.uint8]:
    """``[*size, 3]`` of ``image [rows, columns]`` or ``[rows, columns, 3]``; ``window`` goes from black to white."""
    low, high = window
    channels = image[..., None] if image.ndim == 2 else image
    shown = np.stack([_resize(channels[..., i], size, Image.Resampling.BICUBIC) for i in range(channels.shape[-1])], -1)
    shown = np.clip((shown - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = np.broadcast_to(shown, (*size, 3)).copy()
    resized = [(layer, resize_labels(layer.areas, size), resize_labels(layer.lines, size)) for layer in layers]
    for layer, areas, _ in resized:
        inside = areas > 0
        tint = layer.area_colours[areas[inside]]
        picture[inside] = (1 - AREA_OPACITY) * picture[inside] + AREA_OPACITY * tint
    for layer, _, lines in resized:
        border = _borders(lines, thickness=max(1, round(max(size) / 280)))
        picture[border] = layer.line_colours[lines[border]]
    return picture.round().astype(np.uint8)


def resize_labels(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A label map on another grid over the same area; no label is mixed of two."""
    if labels.shape == size:
        return labels
    values = np.unique(labels)
    if len(values) > FEW:
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, labels.shape, strict=True)
        )
        nearest: NDArray[Any] = labels[np.ix_(rows, columns)]
        return nearest
    shrunk = size[0] < labels.shape[0] or size[1] < labels.shape[1]
    shares = np.stack([_resize(labels == value, size, Image.Resampling.BILINEAR) for value in values])
    if shrunk and values[0] == 0:
        shares[0] *= SHRUNK_BACKGROUND
    resized: NDArray[Any] = values[shares.argmax(0)]
    return resized


def encode(pictures: Sequence[NDArray[np.uint8]], *, most_bytes: int) -> list[bytes]:
    """JPEGs, as good as fit into ``most_bytes`` together."""
    files: list[bytes] = []
    for quality in QUALITIES:
        files = [_jpeg(picture, quality) for picture in pictures]
        if sum(map(len, files)) <= most_bytes:
            break
    return files


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    # colours at full resolution: lines are thin
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _resize(plane: NDArray[Any], size: tuple[int, int], how: Image.Resampling) -> NDArray[np.float32]:
    resized = Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize((size[1], size[0]), how)
    return np.asarray(resized)


def _borders(labels: NDArray[Any], *, thickness: int) -> NDArray[np.bool_]:
    """The outermost pixels of each label, so that those that touch can be distinguished."""
    around = np.pad(labels, thickness)  # a label ends at the picture's edge
    width = 2 * thickness + 1
    low, high = ndimage.minimum_filter(around, width), ndimage.maximum_filter(around, width)
    inner = (slice(thickness, -thickness),) * 2
    border: NDArray[np.bool_] = (low != high)[inner] & (labels > 0)
    return border
