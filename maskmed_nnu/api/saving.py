"""Label maps as files on the grid of their image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.api.images import InputImage
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
    """Write the labels where a user says.

    Raises:
        InputError: where the format cannot hold them, or they would go over the input.
    """
    kind = formats.ending(path)
    if kind not in WRITTEN:
        raise InputError(f"{path} has no ending that label maps are written with; legal are {', '.join(WRITTEN)}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} for {path.name}; make it, or name another.")
    refuse_output_over_input([path], prediction._image.files, advice="name another file")
    refuse_image_folder(path.parent)
    write_labels(path, prediction)


def write_labels(path: Path, prediction: Prediction) -> None:
    """Write the labels on the grid of their image.

    Raises:
        InputError: where the format cannot hold them.
    """
    image, raw, labels, predictor = prediction._image, prediction._raw, prediction.labels, prediction._model
    instances = None if prediction._objects is None else prediction._objects.instances
    kind = formats.ending(path)
    if image.nibabel is not None and kind in formats.NIFTI and instances is None:
        write_atomically(path, partial(_write_nibabel, image=image.nibabel, labels=labels))
        return
    reader = predictor.plans_manager.image_reader_writer_class()
    if instances is not None and kind in LABEL_ENDINGS:
        label_format = LabelFormat.from_dataset_json(predictor.dataset_json)
        reader.write_instances(instances, str(path), image.properties, label_format)
        return
    if len(raw) > 1:
        raise InputError(f"{path} cannot hold layers of overlapping objects; write .tif or .nii.gz.")
    seg = raw[0]
    if kind in (".nrrd", ".mha") and "sitk_stuff" not in image.properties:
        raise InputError(f"{path}: the model reads {type(reader).__name__}'s files only; write .nii.gz instead.")
    own = path.name.lower().endswith((*reader.supported_file_endings, predictor.dataset_json["file_ending"]))
    if own or (kind in formats.VOLUMES and type(reader).__name__.startswith("SimpleITKIO")):
        write_atomically(path, lambda partial: reader.write_seg(seg, str(partial), image.properties))
    elif kind in (".nrrd", ".mha"):
        write_atomically(path, partial(_write_itk, properties=image.properties, seg=seg))
    else:
        from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

        InstanceIO().write_seg(_on_file_grid(image, labels), str(path), _properties(image))


def _on_file_grid(image: InputImage, labels: NDArray[Any]) -> NDArray[Any]:
    """``[Z, Y, X]`` in the order of the axes that label files have."""
    ordered = labels.transpose([image.axes.index(axis) for axis in "ZYX" if axis in image.axes])
    return ordered if ordered.ndim == 3 else ordered[None]


def _properties(image: InputImage) -> dict[str, Any]:
    """What `InstanceIO` wants to know of a place."""
    along = dict(zip(image.axes, image.spacing or (), strict=False))
    spacing = [along.get(axis, 1.0) for axis in "ZYX"]
    stuff = image.properties.get("sitk_stuff")
    properties: dict[str, Any] = {"spacing": spacing}
    if "Z" in image.axes and image.spacing is not None:
        properties["spacing_file"] = True
    if stuff is not None and "original_orientation" not in stuff:
        properties["sitk_stuff"] = {"dimension": len(stuff["spacing"]), "nifti": None, **stuff}
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


def _write_itk(path: Path, *, properties: dict[str, Any], seg: NDArray[Any]) -> None:
    import SimpleITK as sitk

    stuff = properties["sitk_stuff"]
    values = seg.astype(np.uint8 if seg.max(initial=0) < 255 else np.uint16 if seg.max() < 65536 else np.uint32)
    dimension = stuff.get("dimension", len(stuff["spacing"]))
    geometry = formats.Geometry(stuff["spacing"], stuff["origin"], stuff["direction"]).to(dimension)
    image: Any = sitk.GetImageFromArray(values[0] if dimension == 2 else values)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path), True)
