"""Label maps, and files for other tools, on the grid of their image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.api.images import InputImage
from maskmed_nnu.api.tool_files import TOOL_FILES, findings, tool_file_of
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.files import LABEL_ENDINGS
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.output_paths import refuse_image_folder, refuse_output_over_input

if TYPE_CHECKING:
    from maskmed_nnu.api.prediction import Prediction

WRITTEN = (*LABEL_ENDINGS, ".nrrd", ".mha")


def save_labels(path: Path, prediction: Prediction) -> None:
    """Write the labels, or a file for another tool, where a user says.

    Raises:
        InputError: where the format cannot hold them, or they would go over the input.
    """
    tool_file = tool_file_of(path)
    if tool_file is None and formats.ending(path) not in WRITTEN:
        others = ", ".join(kind.ending for kind in TOOL_FILES.values())
        raise InputError(
            f"{path} has no ending that label maps are written with; legal are {', '.join(WRITTEN)}, and for other "
            f"tools {others}."
        )
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for {path.name}; make it, or name another.")
    refuse_output_over_input([path], prediction._image.files, advice="name another file")
    refuse_image_folder(path.parent)
    if tool_file is not None:
        tool_file.write(path, findings(prediction))
    else:
        write_labels(path, prediction)


def write_labels(path: Path, prediction: Prediction) -> None:
    """Write the labels on the grid of their image.

    Raises:
        InputError: where the format cannot hold them.
    """
    image, raw, predictor = prediction._image, prediction._raw, prediction._model
    instances = None if prediction._objects is None else prediction._objects.instances
    kind = formats.ending(path)
    if image.nibabel is not None and kind in formats.NIFTI and instances is None:
        write_atomically(path, partial(_write_nibabel, image=image.nibabel, labels=prediction.labels))
        return
    reader = predictor.plans_manager.image_reader_writer_class()
    if instances is not None and kind in LABEL_ENDINGS:
        label_format = LabelFormat.from_dataset_json(predictor.dataset_json)
        told = kind in formats.TIFF and image.spacing is not None and "Z" in image.axes
        properties = {**image.properties, "spacing_file": True} if told else image.properties
        reader.write_instances(instances, str(path), properties, label_format)
        return
    if len(raw) > 1:
        raise InputError(f"{path} cannot hold layers of overlapping objects; write .tif or .nii.gz.")
    name = type(reader).__name__
    own = path.name.lower().endswith((*reader.supported_file_endings, predictor.dataset_json["file_ending"]))
    if name == "Tiff3DIO" or (name == "NaturalImage2DIO" and raw.shape[1] > 1):
        own = False  # it would write a second file that is called after the first, or the first slice only
    if own or (kind in formats.VOLUMES and name.startswith("SimpleITKIO")):
        write_atomically(path, lambda partial: reader.write_seg(raw[0], str(partial), image.properties))
        return
    seg = image.to_input(raw[0])
    seg = seg.transpose([image.axes.index(axis) for axis in "ZYX" if axis in image.axes])
    geometry = _geometry(image)
    if kind in (".nrrd", ".mha"):
        write_atomically(path, partial(_write_itk, seg=seg, geometry=geometry))
        return
    from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

    InstanceIO().write_seg(seg if seg.ndim == 3 else seg[None], str(path), _properties(image, geometry))


def place(image: InputImage) -> formats.Geometry | None:
    """Where the image's file or array lies, in two or three dimensions; None where it does not tell."""
    nifti, stuff = image.properties.get("nibabel_stuff"), image.properties.get("sitk_stuff")
    if nifti is not None:
        return formats.Geometry.from_affine(np.diag([-1.0, -1.0, 1.0, 1.0]) @ nifti["original_affine"])
    if stuff is not None:
        return _as_stored(stuff, image.data.shape[1:])
    if image.spacing is None:
        return None
    dimension = len(image.spacing)
    along = tuple(image.spacing[image.axes.index(axis)] for axis in "XYZ" if axis in image.axes)
    return formats.Geometry(along, (0.0,) * dimension, tuple(np.eye(dimension).ravel().tolist()))


def _as_stored(stuff: dict[str, Any], shape: tuple[int, ...]) -> formats.Geometry:
    """The place of a file, of which ``stuff`` tells that of its volume of ``shape [Z, Y, X]`` as the reader has it."""
    import SimpleITK as sitk

    if "original_orientation" not in stuff or len(stuff["spacing"]) != 3:
        return formats.Geometry(stuff["spacing"], stuff["origin"], stuff["direction"])
    image: Any = sitk.Image(shape[::-1], sitk.sitkUInt8)
    image.SetSpacing(stuff["spacing"])
    image.SetOrigin(stuff["origin"])
    image.SetDirection(stuff["direction"])
    image = sitk.DICOMOrient(image, stuff["original_orientation"])
    return formats.Geometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def _geometry(image: InputImage) -> formats.Geometry | None:
    """`place`, of as many axes as the image has."""
    found = place(image)
    return None if found is None else found.to(len(image.axes))


def _properties(image: InputImage, geometry: formats.Geometry | None) -> dict[str, Any]:
    """What `InstanceIO` wants to know of a place."""
    along = dict(zip(image.axes, image.spacing or (), strict=False))
    properties: dict[str, Any] = {"spacing": [along.get(axis, 1.0) for axis in "ZYX"]}
    if len(along) == 3:
        properties["spacing_file"] = True
    if geometry is not None:
        place = {"spacing": geometry.spacing, "origin": geometry.origin, "direction": geometry.direction}
        properties["sitk_stuff"] = {**place, "dimension": geometry.dimension, "nifti": None}
    return properties


def _write_nibabel(path: Path, *, image: Any, labels: NDArray[Any]) -> None:
    import nibabel

    values = labels.astype(np.uint8 if labels.max(initial=0) < 255 else np.uint16, copy=False)
    nifti = nibabel.Nifti2Image if isinstance(image, nibabel.Nifti2Image) else nibabel.Nifti1Image
    header = nifti.from_image(image).header.copy()
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_max"], header["cal_min"] = 0, 0
    nibabel.save(nifti(values, image.affine, header), path)


def _write_itk(path: Path, *, seg: NDArray[Any], geometry: formats.Geometry | None) -> None:
    import SimpleITK as sitk

    highest = seg.max(initial=0)
    values = seg.astype(np.uint8 if highest < 256 else np.uint16 if highest < 65536 else np.uint32)
    image: Any = sitk.GetImageFromArray(values)
    if geometry is not None:
        image.SetSpacing(geometry.spacing)
        image.SetOrigin(geometry.origin)
        image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path), True)
