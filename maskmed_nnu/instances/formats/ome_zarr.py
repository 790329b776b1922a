"""OME-Zarr (ngff.openmicroscopy.org, versions 0.4 and 0.5): what its metadata say, and images of labels in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.blocks import blocks_of

MILLIMETRES = {"angstrom": 1e-7, "nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0}
SMALLEST = 1024
"""Pixels of the longer edge of a plane at which a pyramid of labels ends."""
VERSIONS = {2: "0.4", 3: "0.5"}
"""Of OME-Zarr, by that of Zarr."""


class _Axis(BaseModel):
    name: str
    unit: str | None = None


class _Transformation(BaseModel):
    type: str
    scale: list[float] = []


class _Dataset(BaseModel):
    path: str
    coordinateTransformations: list[_Transformation] = []  # noqa: N815


class _Multiscale(BaseModel):
    axes: list[_Axis] = Field(min_length=2)
    datasets: list[_Dataset] = Field(min_length=1)
    coordinateTransformations: list[_Transformation] = []  # noqa: N815


def zarr_module() -> Any:
    """The package zarr.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise InputError(
            "Images larger than memory are read by the package zarr, which is not installed; with Python 3.11 or "
            "newer: pip install 'maskmed-nnu[big]'."
        ) from None
    return zarr


def open_image(path: Path) -> tuple[Any, str, tuple[float, ...] | None]:
    """The array of full resolution, its axes ("TCZYX" or some of them), and its spacing in mm along Z, Y, X; None where
    the metadata name no unit of length.

    Raises:
        InputError: where it is no image of OME-Zarr.
    """
    zarr = zarr_module()
    try:
        group = zarr.open(str(path), mode="r")
    except Exception as error:  # zarr raises whatever its stores and codecs do
        raise InputError(f"{path} cannot be read as Zarr ({error}); give the folder of an OME-Zarr image.") from None
    attributes = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    if "multiscales" not in attributes:
        inner = "one of its wells" if "plate" in attributes else f"an image in it, such as {path / '0'}"
        raise InputError(f"{path} has no multiscales in its metadata, as an OME-Zarr image has; give {inner}.")
    try:
        image = _Multiscale.model_validate(attributes["multiscales"][0])
    except (ValidationError, IndexError, TypeError) as error:
        first = str(error).splitlines()
        raise InputError(
            f"The multiscales of {path} are not those of OME-Zarr 0.4 or 0.5 ({' '.join(first[1:3]) or first[0]}); "
            "write the image again."
        ) from None
    array, axes = group[image.datasets[0].path], "".join(axis.name.upper() for axis in image.axes)
    if len(axes) != array.ndim or len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= set("TCZYX"):
        raise InputError(f"{path} has the axes {axes.lower()} of {array.ndim}; legal are those of t, c, z, y, x.")
    scale = [1.0] * len(axes)
    for step in [*image.datasets[0].coordinateTransformations, *image.coordinateTransformations]:
        if step.type == "scale" and len(step.scale) == len(axes):
            scale = [old * new for old, new in zip(scale, step.scale, strict=True)]
    units = [MILLIMETRES.get(axis.unit or "") for axis in image.axes]
    along = {axis: step * unit for axis, step, unit in zip(axes, scale, units, strict=True) if unit is not None}
    spatial = [axis for axis in "ZYX" if axis in axes]
    return array, axes, tuple(along[axis] for axis in spatial) if set(spatial) <= set(along) else None


def is_label_image(path: Path) -> bool:
    """Whether it is an image of labels, as `LabelImage` writes it."""
    try:
        attributes = dict(zarr_module().open_group(str(path), mode="r").attrs)
    except Exception:  # zarr raises whatever its stores do
        return False
    return "image-label" in attributes.get("ome", attributes)


class LabelImage:
    """A new image of labels, uint32, with a pyramid; `finish` makes it complete."""

    def __init__(
        self,
        path: Path,
        shape: Sequence[int],
        *,
        axes: str,
        chunks: Sequence[int],
        spacing: Sequence[float] | None,
        zarr_format: Literal[2, 3],
    ) -> None:
        self.group = zarr_module().open_group(str(path), mode="w-", zarr_format=zarr_format)
        self.axes, self.spacing, self.name = axes, spacing, path.name
        self.levels: list[Any] = []
        self.steps: list[list[int]] = []
        step = [1] * len(shape)
        while True:
            here = [-(-length // by) for length, by in zip(shape, step, strict=True)]
            names: dict[str, Any] = {"dimension_names": list(axes.lower())} if zarr_format == 3 else {}
            if zarr_format == 2:
                names = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
            pieces = tuple(min(a, b) for a, b in zip(chunks, here, strict=True))
            self.levels.append(
                self.group.create_array(
                    str(len(self.levels)), shape=tuple(here), chunks=pieces, dtype="uint32", fill_value=0, **names
                )
            )
            self.steps.append(step)
            if max(length for length, axis in zip(here, axes, strict=True) if axis in "YX") <= SMALLEST:
                break
            step = [by * (2 if axis in "YX" else 1) for by, axis in zip(step, axes, strict=True)]

    @property
    def pixels(self) -> Any:
        """The array of full resolution, to be written to in blocks of its chunks."""
        return self.levels[0]

    def finish(self, block: Sequence[int], *, source: str) -> None:
        """Fill the pyramid with each second pixel, ``block [*axes]`` pixels at a time, and write the metadata."""
        halves = [slice(None, None, 2 if axis in "YX" else 1) for axis in self.axes]
        for fine, coarse in zip(self.levels, self.levels[1:], strict=False):
            edges = [
                -(-min(edge, n) // piece) * piece
                for edge, n, piece in zip(block, coarse.shape, coarse.chunks, strict=True)
            ]
            for here in blocks_of(coarse.shape, edges):
                there = tuple(
                    slice(part.start * (half.step or 1), part.stop * (half.step or 1))
                    for part, half in zip(here, halves, strict=True)
                )
                coarse[here] = fine[there][tuple(halves)]
        self.group.attrs.update(self._metadata(source))

    def _metadata(self, source: str) -> Mapping[str, Any]:
        spacing, unit = (self.spacing, "millimeter") if self.spacing is not None else ((1.0,) * len(self.axes), None)
        axes = [{"name": axis.lower(), "type": "space", **({"unit": unit} if unit else {})} for axis in self.axes]
        datasets = [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [float(a * b) for a, b in zip(spacing, step, strict=True)]}
                ],
            }
            for level, step in enumerate(self.steps)
        ]
        version = VERSIONS[self.group.metadata.zarr_format]
        multiscale: dict[str, Any] = {"name": self.name, "axes": axes, "datasets": datasets, "type": "nearest"}
        label: dict[str, Any] = {"source": {"image": source}}
        if version == "0.5":
            return {"ome": {"version": version, "multiscales": [multiscale], "image-label": label}}
        return {"multiscales": [{"version": version, **multiscale}], "image-label": {"version": version, **label}}
