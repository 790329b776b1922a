"""What a model is given of an image layer: array, axes and spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.napari_plugin.layer_axes import full_data, layer_axes, predicted_axes
from maskmed_nnu.napari_plugin.placement import Placement, placement_of, voxel_edges
from maskmed_nnu.nnunet.inference.input_channels import fit_channels

if TYPE_CHECKING:
    from maskmed_nnu.api.images import ImageReader


@dataclass(frozen=True)
class LayerImage:
    """An image layer, or several that are the channels of one image, as `Model.predict` takes it."""

    array: NDArray[Any]
    axes: str
    """Of `array`: C, then the spatial ones in the order of the layer"""
    spacing: tuple[float, ...] | None
    """In mm, along the spatial axes; None where the layer tells none"""
    placement: Placement
    """Of layers on its grid"""
    name: str
    notes: tuple[str, ...] = ()


def layer_image(layers: Sequence[Any], reader: ImageReader, *, axes: str | None = None) -> LayerImage:
    """One layer, or one for each channel of the model that ``reader`` reads for.

    Parameters
    ----------
    layers
        Of images. NumPy, dask or zarr; of several resolutions the finest is taken.
    axes
        A letter for each axis of the layers' data, where the layers do not say.

    Raises
    ------
    InputError
        Where the layers do not fit each other, or the model; it says what to do.
    """
    first = layers[0]
    channels = len(reader.channels) if len(layers) == 1 else 1
    shape = full_data(first).shape
    told = layer_axes(first, channels=channels, volumes=reader.volumes, told=axes)
    letters = predicted_axes(told, shape, volumes=reader.volumes, name=first.name)
    placement = placement_of(first, letters)
    for other in layers[1:]:
        if full_data(other).shape != shape or not placement_of(other, letters).equals(placement):
            raise InputError(
                f"The layers {first.name} and {other.name} are not on one grid, as the channels of an image must "
                f"be; their shapes are {format_shape(shape)} and {format_shape(full_data(other).shape)}."
            )
    array = np.concatenate([_channels_first(layer, letters) for layer in layers])
    if len(layers) == 1:
        array = fit_channels(array, {}, reader.channels)[0]
    spatial = letters.replace("_", "").replace("C", "")
    spacing, notes = _spacing(first, letters, reader)
    return LayerImage(array, f"C{spatial}", spacing, placement, first.name, notes)


def _channels_first(layer: Any, letters: str) -> NDArray[Any]:
    try:
        data = np.asarray(full_data(layer)[tuple(0 if letter == "_" else slice(None) for letter in letters)])
    except MemoryError:
        raise InputError(
            f"Layer {layer.name}, {format_shape(full_data(layer).shape)}, does not fit into memory; crop it first."
        ) from None
    kept = letters.replace("_", "")
    return np.moveaxis(data, kept.index("C"), 0) if "C" in kept else data[None]


def _spacing(layer: Any, letters: str, reader: ImageReader) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """In mm, and what is to be said of it.

    Raises:
        InputError: where the model needs one that the layer does not tell.
    """
    axes = [axis for axis, letter in enumerate(letters[: layer.ndim]) if letter in "ZYX"]
    units = getattr(layer, "units", None) or [None] * layer.ndim
    edges = voxel_edges(layer)[axes]
    lengths = [millimetres(units[axis]) for axis in axes]
    # the distance of slices does not matter to a model of planes, as that of frames, which are no lengths
    needed = [length for axis, length in zip(axes, lengths, strict=True) if letters[axis] != "Z" or reader.volumes]
    if None not in needed:
        known = [length or 1.0 for length in lengths]
        return tuple((edges * known).tolist()), ()
    if reader.counts_pixels:
        return None, ()
    if not {None, 1.0} >= set(needed):
        raise InputError(
            f"Layer {layer.name} has units of length along only some of its axes; set them for all axes that are "
            "segmented, as layer.units = 'um'."
        )
    written = " × ".join(f"{edge:.4g}" for edge in edges)
    if np.allclose(edges, 1) and not np.allclose(reader.planned_spacing, 1):
        median = " × ".join(f"{value:.4g}" for value in reader.planned_spacing)
        raise InputError(
            f"Layer {layer.name} has neither scale nor units, but the model was trained on images of about {median} "
            "mm; set both, as layer.scale = (3, 0.8, 0.8) and layer.units = 'mm'."
        )
    return tuple(edges.tolist()), (f"Layer {layer.name} has no units of length: its scale {written} is taken as mm.",)


def millimetres(unit: Any) -> float | None:
    """How long a unit of pint is; None for what is not a length, as a pixel."""
    if unit is None or not unit.is_compatible_with("millimeter"):
        return None
    return float((1 * unit).m_as("millimeter"))
