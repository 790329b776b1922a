"""What the axes of an image layer are: a letter for each, among T (frames), C (channels), Z (slices), Y and X."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_shape

NAMES = {"t": "T", "time": "T", "c": "C", "channel": "C", "channels": "C", "z": "Z", "y": "Y", "x": "X"}
"""Of axes, as layers call them"""


def full_data(layer: Any) -> Any:
    """The data of a layer in full resolution, of whatever kind: NumPy, dask, zarr."""
    return layer.data[0] if layer.multiscale else layer.data


def layer_axes(layer: Any, *, channels: int, volumes: bool, told: str | None = None) -> str:
    """The axes of ``layer.data`` for a model of so many ``channels``, of ``volumes`` or of planes.

    What the user has ``told`` comes first, then the layer's own labels. Without either the last axes are z, y, x, and
    those before them the channels of a model that has several; frames come before the channels. The samples of an RGB
    layer are its channels, and the last axis of its data.

    Raises:
        InputError: for ``told`` that names none of them, and for more axes than there are names.
    """
    samples = "C" if layer.rgb else ""
    shape = full_data(layer).shape
    if told:
        axes = told.strip().upper()
        axes += samples if len(axes) == layer.ndim else ""
        if (
            len(axes) != layer.ndim + len(samples)
            or len(set(axes)) < len(axes)
            or not set("YX") <= set(axes) <= set("TCZYX")
        ):
            raise InputError(
                f"{told!r} does not name the axes of layer {layer.name}, whose shape is {format_shape(shape)}; give a "
                "letter for each: T (frames), C (channels), Z (slices), Y (rows), X (columns)."
            )
        return axes
    labels = [NAMES.get(str(label).lower(), "") for label in getattr(layer, "axis_labels", ())]
    named = {*labels, *samples} >= {"Y", "X"} and "" not in labels
    if named and len({*labels, *samples}) == layer.ndim + len(samples):
        return "".join(labels) + samples
    before = layer.ndim - 2
    one = channels == 1 or samples
    leading = ["", "Z" if one or volumes else "C", "TZ" if one else "CZ", "TCZ"]
    if not 0 <= before < len(leading) or (samples and "C" in leading[before]):
        raise InputError(
            f"Layer {layer.name} has {layer.ndim} axes ({format_shape(shape)}) without names; give a letter for "
            "each: T (frames), C (channels), Z (slices), Y (rows), X (columns)."
        )
    return leading[before] + "YX" + samples


def predicted_axes(axes: str, shape: Sequence[int], *, volumes: bool, name: str) -> str:
    """The axes, ``_`` for those of length 1 that are left out; frames become slices where planes are predicted.

    >>> predicted_axes("TZYX", (5, 1, 64, 64), volumes=False, name="cells")
    'Z_YX'
    >>> predicted_axes("TZYX", (1, 5, 64, 64), volumes=True, name="CT")
    '_ZYX'

    Raises:
        InputError: for a time series of volumes.
    """
    sizes = dict(zip(axes, shape, strict=True))
    frames = sizes.get("T", 1)
    if frames == 1:
        return axes.replace("T", "_")
    if volumes or sizes.get("Z", 1) > 1:
        raise InputError(
            f"Layer {name}, {format_shape(shape)}, has {frames} frames or channels along its axis {axes.index('T')}, "
            "but this model takes one at a time; split it (right click on it, Split Stack), or name its axes."
        )
    return axes.replace("Z", "_").replace("T", "Z")
