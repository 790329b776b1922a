"""What is drawn of a validated case: its classes, or its objects by whether they were found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.nnunet.evaluation.object_validation import images_of, object_status, read_both
from maskmed_nnu.nnunet.evaluation.validated_cases import ValidatedCase
from maskmed_nnu.semantic.classes import Classes
from maskmed_nnu.semantic.label_files import Pair, read_pair
from maskmed_nnu.visualization.case_pictures import Layer, colour_table, distinct_colours
from maskmed_nnu.visualization.case_view import CaseView, view_case

FOUND, MISSED, INVENTED = "#56B4E9", "#CC79A7", "#E69F00"
OBJECT_LEGEND = {
    "area: true object, found": FOUND,
    "area: true object, missed": MISSED,
    "line: found object, true": FOUND,
    "line: found object, invented": INVENTED,
}
NO_TRUTH = "its true label map is not on this machine"
NO_IMAGE = "its image is not on this machine"


def class_legend(classes: Classes) -> dict[str, str]:
    """Class → its colour."""
    return dict(zip(classes.labels, distinct_colours(len(classes.labels)), strict=True))


def view_classes(case: ValidatedCase, classes: Classes) -> CaseView:
    """A case of class maps.

    Raises:
        InputError: where it cannot be shown.
    """
    truth_file, image = _files(case)
    truth, prediction = read_pair(Pair(case.key, truth_file, case.prediction))
    legend = class_legend(classes)
    one_label_each = all(len(labels) == 1 for labels in classes.labels.values())
    groups = [list(classes.labels)] if one_label_each else [[name] for name in classes.labels]  # regions overlap
    layers = []
    for names in groups:
        highest = max(max(labels) for labels in classes.labels.values()) + 1
        table = np.zeros(highest + 1, np.uint8 if len(names) < 256 else np.uint16)
        for index, name in enumerate(names, 1):
            table[list(classes.labels[name])] = index
        areas, lines = (table[np.minimum(side.labels, highest)] for side in (truth, prediction))
        colours = colour_table([legend[name] for name in names])
        layers.append(Layer(areas, lines, colours, colours))
    return view_case(image, layers, spacing=truth.spacing)


def view_objects(
    case: ValidatedCase, label_format: LabelFormat, things: Sequence[int], *, in_space: bool = False
) -> CaseView:
    """A case of id maps, whose objects are predicted ``in_space`` or slice by slice.

    Raises:
        InputError: where it cannot be shown.
    """
    truth_file, image = _files(case)
    truth, prediction = read_both(truth_file, case.prediction, label_format)
    number = int(prediction.ids.max(initial=0))
    areas, lines = np.zeros(truth.ids.shape, np.uint8), np.zeros_like(prediction.ids)
    sides = (images_of(prediction, in_space), images_of(truth, in_space))
    for z, (predicted, true) in enumerate(zip(*sides, strict=True)):
        place = (slice(None),) if true.stuff.ndim == truth.stuff.ndim else (slice(None), z)
        found, met = object_status(predicted, true, things)
        areas[place] = np.concatenate([[0], np.where(met, 1, 2)]).astype(np.uint8)[true.ids]
        invented = np.concatenate([[False], ~found])[predicted.ids]
        lines[place] = predicted.ids + number * invented  # numbers above those of what was found
    nothing = np.zeros(truth.stuff.shape, np.uint8)
    area_colours = colour_table([FOUND, MISSED])
    line_colours = np.concatenate([colour_table([FOUND] * number), colour_table([INVENTED] * number)[1:]])
    layers = [Layer(layer, nothing, area_colours, area_colours) for layer in areas]
    layers += [Layer(nothing, layer, line_colours, line_colours) for layer in lines]
    return view_case(image, layers)


def _files(case: ValidatedCase) -> tuple[Path, Path]:
    if case.truth is None or not case.images:
        raise InputError(NO_TRUTH if case.truth is None else NO_IMAGE)
    return case.truth, case.images[0]
