"""One case as pictures: three planes of a volume and the slices to page through, or a picture with its objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.formats.world_axes import axis_codes
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.visualization.case_pictures import Layer, draw_case, encode, picture_size
from maskmed_nnu.visualization.prediction_figure import intensity_window
from maskmed_nnu.visualization.volume_planes import Plane, VolumeView

PLANE_PIXELS = 360
PICTURE_PIXELS = 720
"""Of a single picture, which needs no neighbours."""
MOST_SLICES = 24
MOST_BYTES = 1_600_000
"""Of a case; three cases and their text stay below 10 MB as base64."""

NARROW = 0.1
"""Of the range of all grey values: labelled ones that span less show nothing of what is around them."""
NOWHERE = ("", "", "", "")


class Picture(NamedTuple):
    """A JPEG; ``edges`` are what lies left, right, above and below, "" where that is not known."""

    name: str
    edges: tuple[str, str, str, str]
    jpeg: bytes
    width: int
    height: int


class CaseView(NamedTuple):
    """``planes``: those of a volume, or the one of a picture. ``slices``: to page through, at least two, or none."""

    planes: tuple[Picture, ...]
    slices: tuple[Picture, ...]
    placed: bool


class ImageVolume(NamedTuple):
    """``channels [1 or 3][Z, Y, X]``: grey or colours."""

    channels: NDArray[Any]
    codes: str | None
    spacing: tuple[float, float, float] | None


def view_case(image_file: Path, layers: Sequence[Layer], *, spacing: Sequence[float] | None = None) -> CaseView:
    """Of an image and layers ``[(Z,) Y, X]`` on its grid; ``spacing`` is that of a file that tells none.

    Raises:
        InputError: where the image cannot be read, or has another size than the layers.
    """
    image = read_image(image_file, axes=layers[0].areas.ndim)
    shape = _three(layers[0].areas).shape
    if image.channels.shape[1:] != shape:
        raise InputError(
            f"{image_file} has {format_shape(image.channels.shape[1:])} voxels, but its label maps have "
            f"{format_shape(shape)}."
        )
    z, y, x = (*(1.0,) * 3, *(image.spacing or spacing or ()))[-3:]
    view = VolumeView(image.codes, (z, y, x), (shape[0], shape[1], shape[2]))
    layers = [layer_of(layer, _three) for layer in layers]
    marked = np.any([(layer.areas > 0) | (layer.lines > 0) for layer in layers], axis=0)
    window = _window(image.channels, marked)
    several = len(view.planes) > 1

    def draw(plane: Plane, index: int, longest: int) -> tuple[Plane, int, NDArray[np.uint8]]:
        cut = np.stack([view.cut(channel, plane, index) for channel in image.channels], -1)
        size = picture_size((cut.shape[0], cut.shape[1]), view.pixel(plane), longest)
        through = [layer_of(layer, lambda labels: view.cut(labels, plane, index)) for layer in layers]
        return plane, index, draw_case(cut, through, size=size, window=window)

    longest = PLANE_PIXELS if several else PICTURE_PIXELS
    drawn = [draw(plane, view.fullest(marked, plane), longest) for plane in view.planes]
    chosen = view.slices(marked, view.main, MOST_SLICES) if several else []
    drawn += [draw(view.main, index, PLANE_PIXELS) for index in chosen] if len(chosen) > 1 else []
    files = encode([picture for *_, picture in drawn], most_bytes=MOST_BYTES)
    pictures = []
    for (plane, index, picture), file in zip(drawn, files, strict=True):
        name = f"{plane.name} {index + 1} of {view.length(plane)}" if several else ""
        edges = plane.edges if image.codes else NOWHERE
        pictures.append(Picture(name, edges, file, picture.shape[1], picture.shape[0]))
    number = len(view.planes)
    return CaseView(tuple(pictures[:number]), tuple(pictures[number:]), image.codes is not None)


def layer_of(layer: Layer, change: Any) -> Layer:
    """The same with areas and lines that ``change`` makes of them."""
    return Layer(change(layer.areas), change(layer.lines), layer.area_colours, layer.line_colours)


def read_image(file: Path, *, axes: int) -> ImageVolume:
    """The first channel of an image, or its colours; of label maps with three ``axes`` pages are slices.

    Raises:
        InputError: where it cannot be read.
    """
    raster = formats.read(file)
    values, _ = raster.channels_first(file, pages="Z" if axes == 3 else "C")
    channels = values[:3] if raster.colour and len(values) >= 3 else values[:1]
    channels = channels.reshape(len(channels), *_three(channels[0]).shape)
    geometry, spacing = raster.geometry, raster.spacing
    if geometry is not None:
        spacing = tuple(abs(length) for length in geometry.to(3).spacing[::-1])
    elif spacing is not None:
        spacing = (*(1.0,) * (3 - len(spacing)), *spacing)
    three = None if spacing is None else (spacing[0], spacing[1], spacing[2])
    return ImageVolume(channels, None if geometry is None else axis_codes(geometry), three)


def _three(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape((1,) * (3 - values.ndim) + values.shape)


def _window(channels: NDArray[Any], marked: NDArray[np.bool_]) -> tuple[float, float]:
    if len(channels) == 3 or channels.shape[1] == 1:
        low, high = np.percentile(channels, (0.5, 99.5))
        return float(low), float(high)
    everything = intensity_window(channels[0], np.zeros_like(marked))
    of_labels = intensity_window(channels[0], marked)
    narrow = of_labels[1] - of_labels[0] < NARROW * (everything[1] - everything[0])
    return everything if narrow else of_labels
