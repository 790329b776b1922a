"""Preprocessing of object data sets: images as nnU-Net does it, labels as a semantic map and layers of ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.boxes import find_boxes
from maskmed_nnu.instances.class_layers import assign_layers, stack_class_layers
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preprocessing.case_checks import (
    channel_names,
    check_case,
    check_files_on_disk,
    name_files_in_errors,
)
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import MaskMedPreprocessor

MAX_OBJECTS = np.iinfo(np.int16).max
MAX_FACTOR = 100
"""Of an edge in resampling: units that are mixed up, such as micrometres and millimetres, make one of 1000."""


class InstancePreprocessor(MaskMedPreprocessor):
    """Labels become int16 ``[1 + L, Z, Y, X]``: the semantic map, then layers of ids 1..N.

    ``instances.layer_classes`` in the plans says of which class the objects of each layer are. Labels are resampled
    from the nearest pixel.

    Nothing is cropped to the image's nonzero part, as nnU-Net does: it would mark zeros around it as no part of the
    image, and in microscopy they are a dark background that must be learned. ``properties`` say the same as after a
    crop that removed nothing.

    ``properties["class_locations"]`` maps a thing class to rows of int32, from which `InstanceDataLoader` draws: of a
    configuration for slices ``[object, z, y0, x0, y1, x1]``, the box of each object on each slice; of one for volumes
    ``[object, z0, y0, x0, z1, y1, x1]``, one row for each object.
    """

    def run_case(
        self,
        image_files: list[str],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict | str,
    ) -> tuple[np.ndarray, np.ndarray, dict]:
        declared: Any = dataset_json
        if isinstance(declared, str):
            declared = read_json(declared, expected="nnU-Net's dataset.json")
        reader = plans_manager.image_reader_writer_class()
        check_files_on_disk(image_files, seg_file, reader=type(reader).__name__)
        with name_files_in_errors(image_files, seg_file):
            data, properties = reader.read_images(image_files)
            seg = None
            if seg_file is not None:
                objects, _ = reader.read_instances(seg_file)
                seg = label_stack(objects, configuration_manager.configuration["instances"]["layer_classes"])
            return self.run_case_npy(data, seg, properties, plans_manager, configuration_manager, declared)

    def run_case_npy(
        self,
        data: np.ndarray,
        seg: np.ndarray | None,
        properties: dict,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict,
    ) -> tuple[np.ndarray, np.ndarray, dict]:
        """``data [C, Z, Y, X]`` and ``seg [1 + L, Z, Y, X]`` from `label_stack`, None at prediction."""
        check_case(data, seg, channels=channel_names(dataset_json))
        axes = [0, *(axis + 1 for axis in plans_manager.transpose_forward)]
        data = data.astype(np.float32).transpose(axes)
        labels = np.zeros((1, *data.shape[1:]), np.int16) if seg is None else seg.transpose(axes)
        dim = len(configuration_manager.spacing)
        if data.ndim == 1 + dim and data.shape[1] == 1:
            raise InputError(
                "the image has one slice, but 3d_fullres finds objects in volumes. Take a model of the configuration "
                "2d for it."
            )
        spacing = comparable_spacing(properties, plans_manager, dim)
        properties["shape_before_cropping"] = properties["shape_after_cropping_and_before_resampling"] = data.shape[1:]
        properties["bbox_used_for_cropping"] = [[0, edge] for edge in data.shape[1:]]

        intensities = plans_manager.foreground_intensity_properties_per_channel
        data = self._normalize(data, labels, configuration_manager, intensities)
        target = [*spacing[:-dim], *configuration_manager.spacing]
        shape = compute_new_shape(data.shape[1:], spacing, target)
        _check_factor(data.shape[-dim:], shape[-dim:], spacing[-dim:], target[-dim:])
        data = configuration_manager.resampling_fn_data(data, shape, spacing, target)
        original, labels = labels, nearest(labels, shape)
        if seg is not None:
            classes = configuration_manager.configuration["instances"]["layer_classes"]
            if data.ndim == 1 + dim:
                keep_a_voxel(labels, original, classes)
            properties["class_locations"] = object_locations(labels[1:], classes, dim)
        return data, labels, properties


def comparable_spacing(properties: dict, plans_manager: PlansManager, dim: int = 2) -> list[float]:
    """The image's spacing, slices first, in the unit of the plans: those made of images without one count pixels.

    ``dim`` axes are resampled, those of a slice or all.

    Raises
    ------
    InputError
        The plans know a spacing and the image does not.
    """
    spacing = [properties["spacing"][axis] for axis in plans_manager.transpose_forward]
    planned = plans_manager.plans.get("original_median_spacing_after_transp", spacing)[-dim:]
    in_pixels = bool(np.allclose(planned, 1))
    if in_pixels and properties.get("spacing_of_metadata"):
        return [*spacing[:-dim], *[1.0] * dim]
    if not (in_pixels or "sitk_stuff" in properties or properties.get("spacing_file")):
        raise InputError(
            "the image has no spacing of its pixels, but the plans were made of images with "
            f"{' × '.join(f'{edge:g}' for edge in planned)}. Give it as stacks do in docs/reference/formats.md: "
            "in ImageJ's or OME's metadata, or in a file .json beside the image, "
            '{"spacing": [z, y, x]}.'
        )
    return spacing


def _check_factor(old: Sequence[int], new: Sequence[int], spacing: Sequence[float], planned: Sequence[float]) -> None:
    """
    Raises
    ------
    InputError
        An image of shape ``old`` that nothing would be left of, or that would be blown up, on the planned grid.
    """
    factor = np.divide(new, old)
    if ((factor * MAX_FACTOR < 1) | (factor > MAX_FACTOR)).any():
        edges = [" × ".join(f"{edge:g}" for edge in each) for each in (spacing, planned)]
        raise InputError(
            f"the image has {format_shape(old)} pixels of the size {edges[0]}, which become {format_shape(new)} of the "
            f"size {edges[1]} that the plans have. Check its spacing, which may be in another unit, as micrometres "
            "instead of millimetres."
        )


def label_stack(objects: InstanceMap, layer_classes: list[int]) -> np.ndarray:
    """int16 ``[1 + len(layer_classes), *spatial]``: the semantic map, then ids 1..N in layers of one class each.

    Raises
    ------
    InputError
        More objects than int16 can number, or objects that need more layers than were planned.
    """
    count = len(objects.classes)
    if count > MAX_OBJECTS:
        raise InputError(
            f"the label file holds {count:,} objects, but a preprocessed image can hold {MAX_OBJECTS:,}. Cut the image "
            "and its label file into pieces."
        )
    layer = assign_layers(objects)
    for number in np.unique(objects.classes):
        needed, planned = int(layer[objects.classes == number].max()) + 1, layer_classes.count(int(number))
        if needed > planned:
            raise InputError(
                f"objects of class {number} overlap so that they need {needed} layer{'s' * (needed != 1)}, but the "
                f"plans have {planned}. The label files have changed since then: run nnUNetv2_plan_and_preprocess "
                "with --clean."
            )
    stack = np.empty((1 + len(layer_classes), *objects.stuff.shape), np.int16)
    stack[0] = objects.semantic()
    stack[1:] = stack_class_layers(objects, layer, layer_classes)  # no id exceeds MAX_OBJECTS
    return stack


def nearest(labels: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """``labels [C, Z, Y, X]`` on a grid of ``shape``, each position with the value of the nearest one.

    >>> nearest(np.array([[[[1, 2, 3]]]]), (1, 1, 6))
    array([[[[1, 1, 2, 2, 3, 3]]]])
    """
    index = [
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for old, new in zip(labels.shape[1:], shape, strict=True)
    ]
    return labels[np.ix_(np.arange(len(labels)), *index)]


def keep_a_voxel(labels: np.ndarray, original: np.ndarray, layer_classes: list[int]) -> None:
    """Give each object of ``original [1 + L, Z, Y, X]`` that resampling has left out of ``labels`` the voxel nearest to
    its middle, in place: an object that is finer than the planned grid can still be found."""
    for layer, kind in enumerate(layer_classes, start=1):
        lost = np.setdiff1d(original[layer], labels[layer])
        if not len(lost):
            continue
        found = find_boxes(np.where(np.isin(original[layer], lost), original[layer], 0)[None])
        factor = np.divide(labels.shape[1:], original.shape[1:])
        places = ((found.centres + 0.5) * factor).astype(np.int64)
        for number, place in zip(found.ids, places, strict=True):
            labels[(layer, *place)], labels[(0, *place)] = number, kind


def object_locations(layers: np.ndarray, layer_classes: list[int], dim: int = 2) -> dict[int, np.ndarray]:
    """Rows of the objects in ``layers [L, Z, Y, X]``, by class: ``[object, z, y0, x0, y1, x1]`` for each slice that
    shows it, or, with ``dim`` 3, ``[object, z0, y0, x0, z1, y1, x1]``."""
    rows: dict[int, list[np.ndarray]] = {number: [np.zeros((0, 4 + dim), np.int32)] for number in layer_classes}
    for number in rows:
        of_class = layers[[number == kind for kind in layer_classes]]
        images = of_class.reshape(len(of_class), math.prod(of_class.shape[1:-dim]), *of_class.shape[-dim:])
        for z, image in enumerate(np.moveaxis(images, 1, 0)):
            found = find_boxes(image)
            slices = np.full((len(found.ids), 3 - dim), z)
            rows[number].append(np.column_stack((found.ids, slices, found.boxes)).astype(np.int32))
    return {number: np.concatenate(parts) for number, parts in rows.items()}
