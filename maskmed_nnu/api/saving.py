"""Label maps as files on the grid of their image."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.api.grids import place
from maskmed_nnu.api.images import InputImage
from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.files import LABEL_ENDINGS
from maskmed_nnu.instances.instance_map import LabelFormat

if TYPE_CHECKING:
    from maskmed_nnu.api.prediction import Prediction

WRITTEN = LABEL_ENDINGS


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
        properties = {**properties, "tiff_scale": _scale(image)}
        reader.write_instances(instances, str(path), properties, label_format)
        return
    if len(raw) > 1:
        raise InputError(f"{path} cannot hold layers of overlapping objects; write .tif or .nii.gz.")
    name = type(reader).__name__
    own = path.name.lower().endswith((*reader.supported_file_endings, predictor.dataset_json["file_ending"]))
    if kind in formats.TIFF or name == "Tiff3DIO" or (name == "NaturalImage2DIO" and raw.shape[1] > 1):
        own = False  # it would leave out the resolution, call a second file after the first, or write one slice only
    if own or (kind in formats.VOLUMES and name.startswith("SimpleITKIO")):
        write_atomically(path, lambda partial: reader.write_seg(raw[0], str(partial), image.properties))
        return
    seg = image.to_input(raw[0])
    seg = seg.transpose([image.axes.index(axis) for axis in "ZYX" if axis in image.axes])
    geometry = _geometry(image)
    from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

    InstanceIO().write_seg(seg if seg.ndim == 3 else seg[None], str(path), _properties(image, geometry))


def _geometry(image: InputImage) -> formats.Geometry | None:
    """`place`, of as many axes as the image has."""
    found = place(image)
    return None if found is None else found.to(len(image.axes))


def _properties(image: InputImage, geometry: formats.Geometry | None) -> dict[str, Any]:
    """What `InstanceIO` wants to know of a place."""
    along = dict(zip(image.axes, image.spacing or (), strict=False))
    properties: dict[str, Any] = {"spacing": [along.get(axis, 1.0) for axis in "ZYX"], "tiff_scale": _scale(image)}
    if len(along) == 3:
        properties["spacing_file"] = True
    if geometry is not None:
        place = {"spacing": geometry.spacing, "origin": geometry.origin, "direction": geometry.direction}
        properties["sitk_stuff"] = {**place, "dimension": geometry.dimension, "nifti": None}
    return properties


def _scale(image: InputImage) -> dict[str, Any] | None:
    """The resolution and unit for a label TIFF: those of the image's TIFF, or of its spacing."""
    scale = image.scale
    if image.spacing is not None and (scale is None or scale.millimetres(volume=len(image.axes) > 2) is None):
        scale = formats.TiffScale.of_spacing([image.spacing[image.axes.index(a)] for a in "ZYX" if a in image.axes])
    return None if scale is None else asdict(scale)


def _write_nibabel(path: Path, *, image: Any, labels: NDArray[Any]) -> None:
    import nibabel

    values = labels.astype(np.uint8 if labels.max(initial=0) < 255 else np.uint16, copy=False)
    nifti = nibabel.Nifti2Image if isinstance(image, nibabel.Nifti2Image) else nibabel.Nifti1Image
    header = nifti.from_image(image).header.copy()
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_max"], header["cal_min"] = 0, 0
    nibabel.save(nifti(values, image.affine, header), path)
