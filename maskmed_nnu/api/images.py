"""What arrays, images of nibabel and SimpleITK, and files become: an image as the model's reader gives it.

So that all of them give the same voxels, an image in memory is handed to the reader that the model was trained with; an
array is taken as that reader would have given it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.api.array_axes import array_axes, check_spacing, checked_array
from maskmed_nnu.api.grids import grid_of, in_planned_unit, properties_of
from maskmed_nnu.api.memory_images import nifti_unit, plain_nifti, unit_of, without_metadata
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.text import count


@dataclass(frozen=True, eq=False)
class InputImage:
    """One image, as the model's reader gives it, and how a map on its grid goes back to the grid of the input."""

    data: NDArray[np.float32]
    """``[C, Z, Y, X]``, as the model's reader gives it"""
    properties: dict[str, Any]
    """nnU-Net's"""
    axes: str
    """The spatial axes of the input in their order: "YX", "ZYX", "XYZ" or "XY" """
    spacing: tuple[float, ...] | None
    """In mm along `axes`; None where the input tells none"""
    to_input: Callable[[NDArray[Any]], NDArray[Any]]
    """From ``[..., Z, Y, X]`` on the reader's grid to ``[..., *axes]``"""
    name: str = "image"
    files: tuple[Path, ...] = ()
    nibabel: Any = None
    """The image that was given, for its affine and header"""
    notes: list[str] = field(default_factory=list)
    placed: bool = False
    """Whether the input tells where it lies, as arrays, pictures and TIFF do not"""
    scale: formats.TiffScale | None = None
    """Of a TIFF: its resolution and unit, which label TIFFs keep"""
    unit: float = 1.0
    """In mm, of the affine that nnU-Net's readers by nibabel tell"""


class ImageReader:
    """Reads images for one model: its reader, its channels, whether it takes images or volumes."""

    def __init__(self, reader: Any, plans: dict[str, Any], dataset_json: dict[str, Any], *, patch_axes: int) -> None:
        self.reader, self.dataset_json = reader, dataset_json
        names = dataset_json.get("channel_names") or dataset_json.get("modality") or {}
        self.channels = list(names.values())
        self.volumes = patch_axes == 3
        planned = list(plans.get("original_median_spacing_after_transp") or [1.0] * 3)
        self.in_pixels = bool(np.allclose(planned if self.volumes else planned[1:], 1))
        along = [planned[axis] for axis in plans["transpose_backward"]]
        self.planned_spacing = along[1:] if along[0] >= 100 else along  # the slices of images seem far apart
        self.kind = formats.ending(f"x{dataset_json['file_ending']}")
        self.counts_pixels = self.in_pixels and self.kind not in formats.VOLUMES

    def read(self, image: Any, *, spacing: Sequence[float] | None, axes: str | None) -> InputImage:
        """Whatever `Model.predict` takes.

        Raises:
            InputError: where it cannot be read, or does not fit the model.
        """
        if isinstance(image, (str, os.PathLike)):
            return self._files([Path(image)], spacing=spacing, axes=axes)
        if isinstance(image, (list, tuple)) and image and all(isinstance(part, (str, os.PathLike)) for part in image):
            return self._files([Path(part) for part in image], spacing=spacing, axes=axes)
        kind = type(image).__module__.partition(".")[0]
        if kind in ("nibabel", "SimpleITK"):
            for name, value in (("spacing", spacing), ("axes", axes)):
                if value is not None:
                    raise InputError(f"A {kind} image has its own {name}; leave {name}= out, or give an array.")
            return self._nibabel(image) if kind == "nibabel" else self._simpleitk(image)
        return self._array(image, spacing=spacing, axes=axes)

    def _array(self, image: Any, *, spacing: Sequence[float] | None, axes: str | None) -> InputImage:
        array = checked_array(image)
        given = array_axes(array.shape, axes, channels=self.channels, volumes=self.volumes)
        spatial = given.replace("C", "")
        numbers = check_spacing(spacing, spatial) if spacing is not None else self._usual_spacing(spatial)
        order = [given.index(axis) for axis in "CZYX" if axis in given]
        data = array.transpose(order)
        data = data if "C" in given else data[None]
        data = data if "Z" in given else data[:, None]
        along = dict(zip(spatial, numbers, strict=True))
        properties = self._properties([along[axis] for axis in "ZYX" if axis in along])
        back = [("ZYX" if "Z" in given else "YX").index(axis) for axis in spatial]

        def to_input(result: NDArray[Any]) -> NDArray[Any]:
            flat = result if "Z" in given else result[..., 0, :, :]
            lead = flat.ndim - len(back)
            return flat.transpose([*range(lead), *(lead + axis for axis in back)])

        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused
            data = np.ascontiguousarray(data, dtype=np.float32)
        return InputImage(data, properties, spatial, numbers if spacing is not None else None, to_input)

    def _files(self, files: list[Path], *, spacing: Sequence[float] | None, axes: str | None) -> InputImage:
        from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO
        from maskmed_nnu.nnunet.inference.trained_model import read_files

        for file in files:
            if not file.is_file():
                what = "is a folder, not an image" if file.is_dir() else "does not exist"
                raise InputError(f"{file} {what}; give the path of an image file, or the list of its channels' files.")
        reader = self.reader
        if not isinstance(reader, InstanceIO) and (axes or not all(self._suits(file) for file in files)):
            reader = InstanceIO()
        notes: list[str] = []
        image, properties = read_files(reader, files, self.dataset_json, axes=axes, tell=notes.append)
        spatial, own, to_input = grid_of(type(reader).__name__, properties, image.shape[1:])
        kind, name = formats.ending(files[0]), files[0].name
        if self.volumes and "Z" not in spatial and kind not in formats.TIFF:
            raise InputError(
                f"{files[0]} is a single plane, but the model was trained on volumes; give an image of several slices."
            )
        scale = formats.read_tiff_scale(files[0]) if kind in formats.TIFF else None
        measured = None if scale is None else scale.millimetres(volume="Z" in spatial)
        metadata = bool(properties.get("spacing_of_metadata"))
        if metadata:
            own = tuple(value / 1000 for value in own)  # TIFFs tell micrometres
        told = _tells_spacing(reader, properties)
        unit = nifti_unit(files[0]) if "nibabel_stuff" in properties else 1.0
        known = tuple(value * unit for value in own) if told else measured
        if spacing is not None:
            if known is not None:
                raise InputError(f"{files[0]} has its own spacing ({_numbers(known)} mm); leave spacing= out.")
            own = known = check_spacing(spacing, spatial)
        elif not told:
            own = self._usual_spacing(spatial, str(files[0])) if measured is None or self.in_pixels else measured
        counted = metadata and self.in_pixels
        other_unit = told and not counted and (kind in formats.VOLUMES) != (self.kind in formats.VOLUMES)
        if reader is not self.reader or other_unit or (not told and known is own):
            kept = properties if reader is self.reader else {}
            properties = {**kept, **self._properties((1.0,) * len(own) if counted else own), **_place(properties)}
        found = InputImage(image, properties, spatial, known, to_input, name, tuple(files), notes=notes)
        return replace(found, placed=kind in formats.VOLUMES, scale=scale, unit=unit)

    def _properties(self, spacing: Sequence[float]) -> dict[str, Any]:
        """nnU-Net's, of an image of ``spacing`` (z,) y, x in mm, which are told in the unit of the model's plans."""
        reader = type(self.reader).__name__
        properties = properties_of(reader, spacing)
        if self.counts_pixels:
            properties["spacing_of_metadata"] = True  # so that objects' preprocessor counts pixels
            if reader != "InstanceIO":
                properties["spacing"] = properties_of(reader, (1.0,) * len(spacing))["spacing"]
        elif self.kind in formats.TIFF:
            properties["spacing"] = properties_of(reader, in_planned_unit(spacing, self.planned_spacing))["spacing"]
        return properties

    def _suits(self, file: Path) -> bool:
        """Whether nnU-Net's reader takes such a file, with a value at each of its voxels."""
        from maskmed_nnu.instances.formats.volumes import read_header

        kind = formats.ending(file)
        if kind in formats.VOLUMES:
            try:
                if read_header(file).components > 1:
                    return False
            except Exception:  # the reader says what is wrong
                return True
        supported = (*self.reader.supported_file_endings, self.dataset_json["file_ending"])
        itk = type(self.reader).__name__.startswith("SimpleITKIO") and kind in formats.VOLUMES
        return itk or file.name.lower().endswith(supported)

    def _nibabel(self, image: Any) -> InputImage:
        import nibabel

        if not hasattr(image, "affine") or not hasattr(image, "dataobj"):
            raise InputError(
                f"A {type(image).__name__} is not an image of voxels; give a NIfTI image, an array or a path."
            )
        if image.get_data_dtype().kind == "c":
            raise InputError(
                f"A {type(image).__name__} of complex numbers is not an image; give its magnitude, for example."
            )
        self._check_axes(len(image.shape), type(image).__name__)
        with TemporaryDirectory(prefix="maskmed-") as folder:
            file = Path(folder) / "image.nii"
            try:
                nibabel.save(plain_nifti(image), file)
            except Exception as error:  # the files behind an image may be gone, its type unknown to NIfTI
                raise InputError(f"The {type(image).__name__} cannot be read ({error}); check its file.") from None
            read = self._in_memory([file], type(image).__name__)
        shape = image.shape[:3]
        axes = "XYZ"[: len(shape)]
        zooms = tuple(float(zoom) * unit_of(image) for zoom in image.header.get_zooms()[: len(shape)])

        def to_input(result: NDArray[Any]) -> NDArray[Any]:
            turned = read.to_input(result)
            lead = result.ndim - 3
            turned = turned.transpose([*range(lead), *range(lead, turned.ndim)[::-1]])
            return turned.reshape(*result.shape[:lead], *shape)

        name = Path(image.get_filename() or "image").name
        files = (Path(image.get_filename()),) if image.get_filename() else ()
        return replace(read, axes=axes, spacing=zooms, to_input=to_input, name=name, files=files, nibabel=image)

    def _simpleitk(self, image: Any) -> InputImage:
        from maskmed_nnu.itk import sitk

        if "complex" in image.GetPixelIDTypeAsString():
            raise InputError("A SimpleITK image of complex numbers is not an image; give its magnitude, for example.")
        self._check_axes(image.GetDimension(), "SimpleITK image")
        image = without_metadata(image)
        number = image.GetNumberOfComponentsPerPixel()
        channels = [image] if number == 1 else [sitk.VectorIndexSelectionCast(image, index) for index in range(number)]
        # MetaImage keeps all digits of spacing, origin and direction
        kind = ".nii" if type(self.reader).__name__.startswith("Nibabel") else ".mha"
        with TemporaryDirectory(prefix="maskmed-") as folder:
            files = [Path(folder) / f"image_{index:04d}{kind}" for index in range(number)]
            try:
                for channel, file in zip(channels, files, strict=True):
                    sitk.WriteImage(channel, str(file))
            except RuntimeError as error:
                raise InputError(f"The SimpleITK image cannot be read ({error}); give an array.") from None
            return self._in_memory(files, "SimpleITK image")

    def _check_axes(self, number: int, what: str) -> None:
        least, needed = (3, "volumes") if self.volumes else (2, "images")
        if not least <= number <= 4:
            raise InputError(
                f"A {what} of {number} axes does not fit the model, which takes {needed} of "
                f"{count(len(self.channels), 'channel')}; give one of {least} axes, or of 4 with the channels as the "
                "last."
            )

    def _in_memory(self, files: list[Path], what: str) -> InputImage:
        """An image that lies in files for the reader's sake; sentences do not name them."""
        try:
            read = self._files(files, spacing=None, axes=None)
        except InputError as error:
            raise InputError(_without_files(str(error), files, what)) from None
        notes = [_without_files(note, files, what) for note in read.notes]
        return replace(read, notes=notes, name="image", files=())

    def _usual_spacing(self, spatial: str, what: str = "An array") -> tuple[float, ...]:
        """1 for models of pictures without a spacing, or whose images all had 1 mm.

        Raises:
            InputError: for other models, to which a wrong spacing would show another scale.
        """
        planned = self.planned_spacing if "Z" in spatial else self.planned_spacing[-2:]
        if not np.allclose(planned, 1):
            raise InputError(
                f"{what} has no spacing, but the model was trained on images of about {_numbers(planned)} mm (the "
                f"median along {' '.join(axis.lower() for axis in 'ZYX'[-len(planned) :])}); give spacing="
                f"({', '.join(spatial.lower())}) in mm."
            )
        return (1.0,) * len(spatial)


def _without_files(sentence: str, files: Sequence[Path], what: str) -> str:
    for file in files:
        sentence = sentence.replace(str(file), f"the {what}").replace(file.name, f"the {what}")
    return sentence


def _place(properties: dict[str, Any]) -> dict[str, Any]:
    """What `InstanceIO` tells of an image's place, as far as nnU-Net's readers know it, too."""
    stuff = properties.get("sitk_stuff")
    if stuff is None:
        return {key: properties[key] for key in ("spacing_file",) if key in properties}
    geometry = formats.Geometry(stuff["spacing"], stuff["origin"], stuff["direction"]).to(stuff["dimension"])
    place = {"spacing": geometry.spacing, "origin": geometry.origin, "direction": geometry.direction}
    return {"sitk_stuff": {**stuff, **place}}


def _tells_spacing(reader: Any, properties: dict[str, Any]) -> bool:
    """Whether the file that ``reader`` read tells one: InstanceIO says so, some of nnU-Net's readers take 1 instead."""
    kind = type(reader).__name__
    if kind == "InstanceIO":
        return "sitk_stuff" in properties or bool(properties.get("spacing_file"))
    if kind == "Tiff3DIO":
        return isinstance(properties["spacing"], list)  # from its file of JSON, or else a tuple of ones
    return kind != "NaturalImage2DIO"


def _numbers(values: Sequence[float] | None) -> str:
    return " × ".join(f"{value:.4g}" for value in values or ())
