"""Where a layer lies in napari's world, and where labels lie that have some of its axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.errors import InputError
from maskmed_nnu.napari_plugin.layer_axes import full_data

NUMBERS = ("scale", "translate", "rotate", "shear", "affine")


@dataclass(frozen=True)
class Placement:
    """Of a layer of labels: how its data gets the axes that napari shows, and the arguments that place it."""

    added: tuple[int, ...]
    """Axes of length 1 among those of the labels' data, in the place of channels that the image has there"""
    arguments: dict[str, Any]

    def data(self, labels: NDArray[Any]) -> NDArray[Any]:
        """``labels``, whose axes are those that were predicted, with the `added` ones."""
        return np.expand_dims(labels, self.added)

    def equals(self, other: Placement) -> bool:
        """Whether both lie in one place."""
        mine, theirs = self.arguments, other.arguments
        same = self.added == other.added and mine.get("units") == theirs.get("units")
        return same and all(np.allclose(mine[name], theirs[name]) for name in NUMBERS)


def placement_of(layer: Any, letters: str) -> Placement:
    """Of labels for an image ``layer`` with the axes ``letters``, of which Z, Y and X are predicted.

    napari lines up the last axes of its layers. So other axes are left out where they come before those, as the
    channels of C, Z, Y, X; between them, as in Z, C, Y, X, one of length 1 stands for all channels, over whose whole
    extent it is shown.

    Raises:
        InputError: where such an axis is turned into the predicted ones, so that leaving it out moves the labels.
    """
    number = layer.ndim
    letters = letters[:number]
    first = min(letters.index(axis) for axis in "ZYX" if axis in letters)
    left_out, kept = list(range(first)), list(range(first, number))
    rotate, shear, affine = np.asarray(layer.rotate), _shear_matrix(layer), np.asarray(layer.affine.affine_matrix)
    for part in (rotate, shear, affine[:-1, :-1]):
        if not np.allclose(part[np.ix_(left_out, kept)], 0) or not np.allclose(part[np.ix_(kept, left_out)], 0):
            raise InputError(
                f"The position of layer {layer.name} mixes its axis {left_out[-1]} with those that are segmented, so "
                "that labels without that axis have no place; reset the layer's rotate, shear and affine."
            )
    scale, translate = np.array(layer.scale, float), np.array(layer.translate, float)
    for axis in kept:
        if letters[axis] not in "ZYX":
            size = full_data(layer).shape[axis]
            translate += (rotate @ shear)[:, axis] * scale[axis] * (size - 1) / 2
            scale[axis] *= size
    some = np.ix_(kept, kept)
    whole = [*kept, number]
    arguments: dict[str, Any] = {
        "scale": scale[kept],
        "translate": translate[kept],
        "rotate": rotate[some],
        "shear": shear[some],
        "affine": affine[np.ix_(whole, whole)],
    }
    for name in ("units", "axis_labels"):
        if hasattr(layer, name):
            arguments[name] = tuple(getattr(layer, name)[axis] for axis in kept)
    return Placement(tuple(axis - first for axis in kept if letters[axis] not in "ZYX"), arguments)


def voxel_edges(layer: Any) -> NDArray[np.float64]:
    """How long a voxel is along each axis of the layer: its scale, stretched as its affine does."""
    turned = np.asarray(layer.rotate) @ _shear_matrix(layer)
    stretched = np.asarray(layer.affine.affine_matrix)[:-1, :-1] @ turned
    stretch: NDArray[np.float64] = np.linalg.norm(stretched, axis=0) / np.linalg.norm(turned, axis=0)
    return np.abs(np.asarray(layer.scale, float)) * stretch


def _shear_matrix(layer: Any) -> NDArray[np.float64]:
    """napari gives the values above the diagonal of one that is triangular."""
    shear = np.asarray(layer.shear, float)
    if shear.ndim == 2:
        return shear
    matrix = np.eye(layer.ndim)
    matrix[np.triu_indices(layer.ndim, 1)] = shear
    return matrix
