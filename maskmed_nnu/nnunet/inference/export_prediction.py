"""From packed detections to label files: what nnU-Net's export processes do for data sets of objects."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from maskmed_nnu.atomic_write import files_atomically, write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.detections import MASK_THRESHOLD, Detections, pack, to_instance_map, unpack
from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, encode
from maskmed_nnu.instances.text import format_shape
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.inference.label_planes import labels_of_logits, revert_cropping
from maskmed_nnu.nnunet.inference.plane_prediction import LaterLabels
from maskmed_nnu.nnunet.inference.prediction_records import recording
from maskmed_nnu.nnunet.inference.refusals import refuse_instances
from maskmed_nnu.nnunet.plans_handling.label_export import labels_by_plane
from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances
from maskmed_nnu.nnunet.preprocessing.case_checks import check_volumes
from maskmed_nnu.signals import raising


def wrap_export(module: Any) -> None:
    """Wrap the functions of ``nnunetv2.inference.export_prediction``, which work on logits in 8 or 16 bits."""
    stock_convert = module.convert_predicted_logits_to_segmentation_with_correct_shape
    stock_export = module.export_prediction_from_logits
    stock_resample = module.resample_and_save

    @functools.wraps(stock_convert)
    def convert_predicted_logits_to_segmentation_with_correct_shape(
        predicted_logits: Any,
        plans_manager: Any,
        configuration_manager: Any,
        label_manager: Any,
        properties_dict: dict,
        return_probabilities: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """For a data set of objects: ids as in its label files, ``[L, Z, Y, X]`` with layers and else ``[Z, Y, X]``.

        ``return_probabilities`` adds the detections of the volume or of every slice in the place of probabilities.
        Of many classes, logits or the labels that `plane_prediction` has made of them.
        """
        later = isinstance(predicted_logits, LaterLabels)
        labels = predicted_logits.labels(properties_dict) if later else np.asarray(predicted_logits)
        predicted = SimpleNamespace(
            plans_manager=plans_manager, configuration_manager=configuration_manager, label_manager=label_manager
        )
        if labels.ndim == 3:
            return revert_cropping(predicted, labels, properties_dict)
        if not return_probabilities and labels_by_plane(plans_manager.plans, configuration_manager.configuration):
            return revert_cropping(predicted, labels_of_logits(predicted, labels, properties_dict), properties_dict)
        if not has_instances(plans_manager.plans):
            return stock_convert(
                predicted_logits,
                plans_manager,
                configuration_manager,
                label_manager,
                properties_dict,
                return_probabilities,
                *args,
                **kwargs,
            )
        instances = configuration_manager.configuration["instances"]
        label_format = LabelFormat.from_dataset_json({**instances, "labels": label_manager.label_dict})
        slices = revert_preprocessing(predicted_logits, properties_dict)
        objects, loss = to_instances(slices, plans_manager.transpose_backward, planned_layers(instances))
        if loss:
            print(f"An image of {format_shape(objects.stuff.shape)} pixels: {loss}")
        raw = encode(objects, label_format)
        raw = raw if label_format.overlap_layers else raw[0]
        return (raw, slices) if return_probabilities else raw

    @functools.wraps(stock_export)
    def export_prediction_from_logits(
        predicted_array_or_file: Any,
        properties_dict: dict,
        configuration_manager: Any,
        plans_manager: Any,
        dataset_json_dict_or_file: dict | str,
        output_file_truncated: str,
        save_probabilities: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        output = Path(output_file_truncated)
        with recording(output.parent, output.name, plans_manager.plans) as outputs:
            if not has_instances(plans_manager.plans):
                # in a process of a pool, which ends without a word at a signal
                with raising(), files_atomically(outputs[0] if outputs else output) as folder:
                    done = stock_export(
                        predicted_array_or_file,
                        properties_dict,
                        configuration_manager,
                        plans_manager,
                        dataset_json_dict_or_file,
                        str(folder / output.name),
                        save_probabilities,
                        *args,
                        **kwargs,
                    )
                    for path in outputs:
                        _check_whole(folder / path.name, path, plans_manager.image_reader_writer_class())
                return done
            dataset_json: Any = dataset_json_dict_or_file
            if isinstance(dataset_json, str):
                dataset_json = read_json(dataset_json, expected="nnU-Net's dataset.json")
            slices = revert_preprocessing(predicted_array_or_file, properties_dict)
            if save_probabilities:
                save_detections(slices, output_file_truncated + ".npz")
            return write_slices(
                slices,
                output_file_truncated + dataset_json["file_ending"],
                properties_dict,
                plans_manager=plans_manager,
                configuration=configuration_manager.configuration,
                dataset_json=dataset_json,
            )

    @functools.wraps(stock_resample)
    def resample_and_save(
        predicted: Any, target_shape: Any, output_file: str, plans_manager: Any, *args: Any, **kwargs: Any
    ) -> Any:
        refuse_instances(plans_manager.plans, "the next stage of a cascade")
        output = Path(output_file)
        with raising(), files_atomically(output) as folder:
            return stock_resample(predicted, target_shape, str(folder / output.name), plans_manager, *args, **kwargs)

    module.convert_predicted_logits_to_segmentation_with_correct_shape = (
        convert_predicted_logits_to_segmentation_with_correct_shape
    )
    module.export_prediction_from_logits = export_prediction_from_logits
    module.resample_and_save = resample_and_save


def _check_whole(path: Path, name: Path, reader: Any) -> None:
    """Refuse a label map of which a part is missing: on a full disk ITK writes such a one without an error, and reads
    it without one where it is a NIfTI. ``name`` is what it will be called.

    Raises:
        InputError: where it does.
    """
    if formats.ending(path) is None:
        return
    try:
        check_volumes([str(path)])
        with redirect_stdout(io.StringIO()):  # Tiff3DIO misses a spacing
            reader.read_images([str(path)])  # not read_seg: what classes mean is not asked here
    except Exception:  # nnU-Net's readers raise whatever their libraries do
        raise InputError(
            f"{name} could not be written completely; make room on its disk, and continue with --continue_prediction."
        ) from None


def revert_preprocessing(packed: Any, properties: Mapping[str, Any]) -> list[Detections]:
    """Detections of the original volume, or of every slice of it, from those of the preprocessed one: the reverse of
    resampling and cropping. The axes are still in the plan's order.

    ``packed``: uint8 vector of `pack`, as an array or tensor.
    """
    starts, stops = zip(*properties["bbox_used_for_cropping"], strict=True)
    cropped = tuple(properties["shape_after_cropping_and_before_resampling"])
    shape = tuple(int(n) for n in properties["shape_before_cropping"])
    parts = unpack(np.asarray(packed))
    axes = slice(3 - parts[0].dim, None)
    restored = [part.resize(cropped[axes]).shift([int(n) for n in starts[axes]], shape[axes]) for part in parts]
    if parts[0].dim == 3:
        return restored
    assert len(parts) == cropped[0] == stops[0] - starts[0], "slices are not resampled"
    nothing = Detections.empty(shape[axes])
    return [nothing] * int(starts[0]) + restored + [nothing] * int(shape[0] - stops[0])


def planned_layers(instances: Mapping[str, Any]) -> int:
    """How many layers of ids label files of this plan have room for."""
    return len(instances["layer_classes"]) if instances["overlap_layers"] else 1


def to_instances(
    slices: Sequence[Detections], transpose_backward: Sequence[int], layers: int
) -> tuple[InstanceMap, str]:
    """The objects of a volume or of all slices with ids that are unique in the image, axes as in the file, at most
    ``layers`` layers.

    Also returns a sentence about objects that did not fit into the layers, or an empty string. One layer is a flat map
    in which higher scores win, so there the sentence is empty.
    """
    maps = [to_instance_map(part, layers) for part in slices]
    if slices[0].dim == 3:
        ids = maps[0][0]
    else:
        ids = np.zeros((max(len(layer) for layer, _, _ in maps), len(slices), *slices[0].shape), np.int32)
        count = 0
        for z, (part_ids, classes, _) in enumerate(maps):
            ids[: len(part_ids), z] = np.where(part_ids > 0, part_ids + count, 0)
            count += len(classes)
    stuff = np.zeros((len(slices), *slices[0].shape), np.int32)
    for here, part in zip(stuff, slices, strict=True):
        if part.stuff is not None:
            here[...] = part.stuff
    stuff = stuff.reshape(ids.shape[1:])
    backward = list(transpose_backward)
    objects = InstanceMap(
        ids.transpose(0, *(axis + 1 for axis in backward)),
        np.concatenate([classes for _, classes, _ in maps]),
        stuff.transpose(backward),
    )
    dropped = sum(lost for _, _, lost in maps)
    pixels = sum(np.count_nonzero(mask >= MASK_THRESHOLD) for part in slices for mask in part.masks) - np.count_nonzero(
        ids
    )
    if layers == 1 or not pixels:
        return objects, ""
    return objects, (
        f"the objects overlap in more than the {layers} planned layers; {dropped} of them were dropped, and "
        f"{pixels} pixels were assigned to objects with higher scores."
    )


def write_slices(
    slices: Sequence[Detections],
    path: str,
    properties: dict,
    *,
    plans_manager: Any,
    configuration: Mapping[str, Any],
    dataset_json: dict,
    warn: Callable[[str], object] = print,
) -> None:
    """Write the objects of an image as a label file of the data set; ``warn`` is told what did not fit into its layers.

    Raises:
        InputError: where the data set's encoding or the file format cannot hold them.
    """
    objects, loss = to_instances(slices, plans_manager.transpose_backward, planned_layers(configuration["instances"]))
    if loss:
        warn(f"{path}: {loss}")
    writer = plans_manager.image_reader_writer_class()
    writer.write_instances(objects, path, properties, LabelFormat.from_dataset_json(dataset_json))


def save_detections(slices: Sequence[Detections], path: str) -> None:
    """What ``--save_probabilities`` keeps: ``unpack(np.load(path)["detections"])`` gives scores and soft masks back."""
    write_atomically(Path(path), lambda partial: np.savez_compressed(partial, detections=pack(slices)))
