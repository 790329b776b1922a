"""What files, arrays, images in memory and `Prediction` objects are as label maps that can be evaluated."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from maskmed_nnu.api.prediction import Prediction
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.semantic.label_files import LabelMap, check_grids, read_label_map, whole_labels

LEGAL = "give a path, an array, an image of nibabel or SimpleITK, or a prediction of Model.predict"


def is_path(one: object) -> bool:
    """Whether ``one`` names a file or folder."""
    return isinstance(one, str | os.PathLike)


def read_both(truth: Any, prediction: Any) -> tuple[LabelMap, LabelMap]:
    """The label maps of one image, on one grid.

    Raises:
        InputError: where they are none, or lie on two grids as far as they tell.
    """
    # beside a Prediction an array has the axes of its labels
    axes = next((one.axes for one in (truth, prediction) if isinstance(one, Prediction)), None)
    true, predicted = label_map_of(truth, "truth", axes=axes), label_map_of(prediction, "prediction", axes=axes)
    if true.labels.shape == predicted.labels.shape[::-1] != predicted.labels.shape:
        raise InputError(
            f"prediction has the shape {format_shape(predicted.labels.shape)}, the reverse of truth's; an array has "
            "the axes [z, y, x], so transpose one in the order x, y, z, as nibabel gives it (array.T)."
        )
    check_grids(true, predicted, "truth", "prediction")
    return true, predicted


def label_map_of(value: Any, name: str, *, axes: str | None = None) -> LabelMap:
    """The label map of one image, ``[z, y, x]`` or ``[y, x]``; ``axes`` are those of an array, if others.

    An image of nibabel or SimpleITK takes the way of a file, so that it is read and refused as its file is.

    Raises:
        InputError: where it is none. The sentence calls it ``name``, or its path.
    """
    if is_path(value):
        return read_label_map(Path(value))
    if isinstance(value, Prediction):
        return _of_prediction(value, name)
    kind = type(value).__module__.partition(".")[0]
    if kind == "nibabel" and hasattr(value, "dataobj"):
        import nibabel

        from maskmed_nnu.api.memory_images import plain_nifti

        return _of_file("image.nii", lambda file: nibabel.save(plain_nifti(value), file), name)
    if kind == "SimpleITK":
        from maskmed_nnu.api.memory_images import without_metadata
        from maskmed_nnu.itk import sitk

        return _of_file("image.mha", lambda file: sitk.WriteImage(without_metadata(value), str(file)), name)
    return _of_array(value, name, axes)


def _of_array(value: Any, name: str, axes: str | None) -> LabelMap:
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, which hides voxels; fill them with .filled(label).")
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} is a {type(value).__name__}, which is not a label map; {LEGAL}.")
    if axes is not None and len(axes) == array.ndim:
        array = array.transpose([axes.index(axis) for axis in "ZYX" if axis in axes])
    return LabelMap(whole_labels(array, name), None, None)


def _of_prediction(prediction: Prediction, name: str) -> LabelMap:
    if prediction._image.placed and not prediction.has_objects:
        from maskmed_nnu.api.saving import write_labels

        return _of_file("image.nii.gz", lambda file: write_labels(file, prediction), name)
    axes, spacing, labels = prediction.axes, prediction.spacing, prediction.labels
    lead = labels.ndim - len(axes)  # layers of objects
    labels = labels.transpose([*range(lead), *(lead + axes.index(axis) for axis in "ZYX" if axis in axes)])
    if spacing is not None:
        spacing = tuple(spacing[axes.index(axis)] for axis in "ZYX" if axis in axes)
    return LabelMap(whole_labels(labels, name), spacing, None)


def _of_file(file_name: str, write: Callable[[Path], object], name: str) -> LabelMap:
    with TemporaryDirectory(prefix="maskmed-") as folder:
        file = Path(folder) / file_name
        try:
            write(file)
            return read_label_map(file)
        except InputError as error:
            raise InputError(str(error).replace(str(file), name)) from None
        except Exception as error:  # whatever the library raises for files behind an image that are gone
            raise InputError(f"{name} cannot be read ({error}); check its file.") from None
