"""The grid of an image as nnU-Net's readers tell it, and the way from the reader's axes back to the file's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.instances.formats import Geometry

if TYPE_CHECKING:
    from maskmed_nnu.api.images import InputImage

ToInput = Callable[[NDArray[Any]], NDArray[Any]]


def properties_of(reader: str, spacing: Sequence[float]) -> dict[str, Any]:
    """nnU-Net's properties of an image that tells nothing but its ``spacing`` (z,) y, x, as ``reader`` gives them."""
    flat = len(spacing) == 2
    seen = [999 * max(spacing), *spacing] if flat else list(spacing)
    if reader == "NaturalImage2DIO":
        return {"spacing": (999, 1, 1)}
    if reader == "Tiff3DIO":
        return {"spacing": seen}
    along = tuple(float(value) for value in spacing[::-1])
    if reader == "InstanceIO":
        volume = (*along, 1.0)[:3]
        place = {"spacing": volume, "origin": (0.0,) * 3, "direction": tuple(np.eye(3).ravel().tolist())}
        stuff = {**place, "dimension": len(along), "nifti": None}
        return {"spacing": seen, "sitk_stuff": stuff}
    if reader.startswith("Nibabel"):
        affine = np.diag([*along, *(1.0,) * (4 - len(along))])
        return {"spacing": seen, "nibabel_stuff": {"original_affine": affine, "reoriented_affine": affine}}
    dimension = len(along)
    direction = tuple(np.eye(dimension).ravel().tolist())
    place = {"spacing": along, "origin": (0.0,) * dimension, "direction": direction}
    return {"spacing": seen, "sitk_stuff": {**place, "original_orientation": "LPS"}}


def in_planned_unit(spacing: Sequence[float], planned: Sequence[float]) -> tuple[float, ...]:
    """``spacing`` in mm in the unit of a model that was planned on TIFFs: micrometres where their metadata told it, or
    else mm; which, is plain from the numbers.

    >>> in_planned_unit((0.002, 0.0003, 0.0003), [2, 0.25, 0.25])
    (2.0, 0.3, 0.3)
    >>> in_planned_unit((3.0, 0.8, 0.8), [2, 0.7, 0.7])
    (3.0, 0.8, 0.8)
    """
    times = float(np.log(spacing).mean() - np.log(planned).mean())
    return tuple(value * (1000 if abs(times + np.log(1000)) < abs(times) else 1) for value in spacing)


def grid_of(reader: str, properties: dict[str, Any], shape: Sequence[int]) -> tuple[str, tuple[float, ...], ToInput]:
    """The spatial axes of a file, its spacing along them, and the way from ``[..., Z, Y, X]`` to them.

    ``properties`` are those of ``reader``, which may have turned the volume of ``shape [Z, Y, X]``.
    """
    stuff = properties.get("sitk_stuff")
    spacing = tuple(float(value) for value in properties["spacing"])
    if stuff is not None and len(stuff["spacing"]) == 4:  # channels along the fourth axis
        keep = np.reshape(stuff["direction"], (4, 4))[:3, :3]
        stuff |= {"spacing": stuff["spacing"][:3], "origin": stuff["origin"][:3], "direction": tuple(keep.ravel())}
    if reader == "SimpleITKIOWithReorient" and stuff is not None and len(stuff["spacing"]) == 3:
        _, original = _turned_back(np.zeros(shape, np.uint8), stuff)
        return "ZYX", original, lambda result: _each(result, lambda one: _turned_back(one, stuff)[0])
    if reader == "NibabelIOWithReorient":
        return "ZYX", *_nibabel_turned_back(properties["nibabel_stuff"], spacing)
    if reader == "InstanceIO":
        flat = (stuff["dimension"] == 2) if stuff is not None else shape[0] == 1
    else:
        flat = reader == "NaturalImage2DIO" or (stuff is not None and len(stuff["spacing"]) == 2)
    if flat:
        return "YX", spacing[1:], lambda result: result[..., 0, :, :]
    if stuff is not None:  # a single slice seems far from its neighbours
        spacing = tuple(abs(float(value)) for value in stuff["spacing"][::-1])
    return "ZYX", spacing, lambda result: result


def _each(result: NDArray[Any], turn: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    if result.ndim == 3:
        return turn(result)
    return np.stack([_each(part, turn) for part in result])


def _turned_back(result: NDArray[Any], stuff: dict[str, Any]) -> tuple[NDArray[Any], tuple[float, ...]]:
    from maskmed_nnu.itk import sitk

    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(result))
    image.SetSpacing(stuff["spacing"])
    image.SetOrigin(stuff["origin"])
    image.SetDirection(stuff["direction"])
    image = sitk.DICOMOrient(image, stuff["original_orientation"])
    return sitk.GetArrayFromImage(image), tuple(image.GetSpacing()[::-1])


def _nibabel_turned_back(stuff: dict[str, Any], spacing: Sequence[float]) -> tuple[tuple[float, ...], ToInput]:
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    turn: Any = ornt_transform(axcodes2ornt("RAS"), io_orientation(stuff["original_affine"]))

    def to_input(result: NDArray[Any]) -> NDArray[Any]:
        def back(one: NDArray[Any]) -> NDArray[Any]:
            turned: NDArray[Any] = apply_orientation(one.transpose(2, 1, 0), turn)
            return turned.transpose(2, 1, 0)

        return _each(result, back)

    along = np.empty(3)
    along[turn[:, 0].astype(int)] = list(spacing)[::-1]
    return tuple(along[::-1].tolist()), to_input


def place(image: InputImage) -> Geometry | None:
    """Where the image's file or array lies, in two or three dimensions; None where it does not tell."""
    nifti, stuff = image.properties.get("nibabel_stuff"), image.properties.get("sitk_stuff")
    if nifti is not None:
        return Geometry.from_affine(np.diag([-image.unit, -image.unit, image.unit, 1]) @ nifti["original_affine"])
    if stuff is not None:
        return _as_stored(stuff, image.data.shape[1:])
    if image.spacing is None:
        return None
    dimension = len(image.spacing)
    along = tuple(image.spacing[image.axes.index(axis)] for axis in "XYZ" if axis in image.axes)
    return Geometry(along, (0.0,) * dimension, tuple(np.eye(dimension).ravel().tolist()))


def _as_stored(stuff: dict[str, Any], shape: tuple[int, ...]) -> Geometry:
    """The place of a file, of which ``stuff`` tells that of its volume of ``shape [Z, Y, X]`` as the reader has it."""
    from maskmed_nnu.itk import sitk

    if "original_orientation" not in stuff or len(stuff["spacing"]) != 3:
        return Geometry(stuff["spacing"], stuff["origin"], stuff["direction"])
    image: Any = sitk.Image(shape[::-1], sitk.sitkUInt8)
    image.SetSpacing(stuff["spacing"])
    image.SetOrigin(stuff["origin"])
    image.SetDirection(stuff["direction"])
    image = sitk.DICOMOrient(image, stuff["original_orientation"])
    return Geometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
