"""A picture of an image with the outline of every object in a colour of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskmed_nnu.instances.colours import colour
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections

STUFF_OPACITY = 0.25
CLASS_OPACITY = 0.5
PIXELS_PER_LINE = 800


def draw_overlay(image: NDArray[Any], detections: Detections) -> NDArray[np.uint8]:
    """uint8 ``[H, W, 3]``: ``image [C, H, W]`` in grey, or in colour where C = 3, stuff tinted, objects outlined.

    Intensities are stretched from the 0.5th to the 99.5th percentile. Lines lie inside the objects, so that touching
    ones can be distinguished; they get thicker in larger images.
    """
    picture = _stretch_contrast(image)
    if detections.stuff is not None:
        for number in np.unique(detections.stuff[detections.stuff > 0]).tolist():
            is_class = detections.stuff == number
            tint = STUFF_OPACITY * _colour(-number)
            picture[is_class] = ((1 - STUFF_OPACITY) * picture[is_class] + tint).astype(np.uint8)
    thickness = max(1, round(min(detections.shape) / PIXELS_PER_LINE))
    for index in np.argsort(detections.scores, kind="stable"):  # the highest score on top
        y0, x0, y1, x1 = detections.boxes[index]
        inside = np.pad(detections.masks[index] >= MASK_THRESHOLD, 1)
        line = inside & ~ndimage.binary_erosion(inside, iterations=thickness)
        picture[y0:y1, x0:x1][line[1:-1, 1:-1]] = _colour(int(index))
    return picture


def draw_classes(image: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 ``[H, W, 3]``: ``image [C, H, W]`` as in `draw_overlay`, each class of ``labels [H, W]`` tinted."""
    picture = _stretch_contrast(image)
    for number in np.unique(labels[labels > 0]).tolist():
        inside = labels == number
        tint = CLASS_OPACITY * class_colour(number)
        picture[inside] = ((1 - CLASS_OPACITY) * picture[inside] + tint).astype(np.uint8)
    return picture


def class_colour(number: int) -> NDArray[np.float64]:
    """The colour of a class in pictures, 0 to 255."""
    return _colour(number)


def _stretch_contrast(image: NDArray[Any]) -> NDArray[np.uint8]:
    channels = image if len(image) == 3 else image[:1].repeat(3, 0)
    low, high = np.percentile(channels[:, ::4, ::4], (0.5, 99.5))  # every fourth pixel is enough
    scaled = (channels - low) * (255 / (high - low) if high > low else 0)
    return np.ascontiguousarray(np.clip(scaled, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _colour(index: int) -> NDArray[np.float64]:
    return np.array(colour(index))
