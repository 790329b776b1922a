"""Image layers as napari has them, where it is not installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


class Unit:
    """As pint's: of a length in mm, or of none."""

    def __init__(self, length: float | None) -> None:
        self.length = length

    def is_compatible_with(self, other: str) -> bool:
        return self.length is not None and other == "millimeter"

    def __rmul__(self, number: float) -> Any:
        return SimpleNamespace(m_as=lambda _: number * self.length)


MM, UM, PIXEL, SECOND = Unit(1), Unit(1e-3), Unit(None), Unit(None)


def fake_layer(data: Any, *, rgb: bool = False, name: str = "CT", multiscale: bool = False, **place: Any) -> Any:
    full = data[0] if multiscale else data
    n = len(full.shape) - rgb
    affine = place.pop("affine", np.eye(n + 1))
    layer = {
        "data": data,
        "rgb": rgb,
        "name": name,
        "multiscale": multiscale,
        "ndim": n,
        "scale": np.ones(n),
        "translate": np.zeros(n),
        "rotate": np.eye(n),
        "shear": np.zeros(n * (n - 1) // 2),
        "units": (PIXEL,) * n,
        "axis_labels": tuple(str(axis) for axis in range(-n, 0)),
        "affine": SimpleNamespace(affine_matrix=affine),
    }
    return SimpleNamespace(**{**layer, **place})


def fake_reader(channels: tuple[str, ...] = ("CT",), *, volumes: bool = False, planned: Any = None) -> Any:
    """What the plugin asks of a model's reader; without ``planned`` it counts pixels."""
    spacing = planned or [1.0] * (2 + volumes)
    return SimpleNamespace(channels=channels, volumes=volumes, planned_spacing=spacing, counts_pixels=planned is None)


def linear(place: Any) -> np.ndarray:
    """The matrix that napari makes of rotate, shear and scale."""
    scale, shear = np.asarray(place["scale"], float), np.asarray(place["shear"], float)
    if shear.ndim == 1:
        values, shear = shear, np.eye(len(scale))
        shear[np.triu_indices(len(scale), 1)] = values
    return np.asarray(place["rotate"]) @ shear @ np.diag(scale)


def world(place: Any, index: Any) -> np.ndarray:
    """Where napari shows a voxel."""
    physical = linear(place) @ np.asarray(index, float) + place["translate"]
    affine = place["affine"]
    affine = np.asarray(getattr(affine, "affine_matrix", affine))
    return affine[:-1, :-1] @ physical + affine[:-1, -1]
