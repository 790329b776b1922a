"""What was predicted, as layers of labels with the table of the objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskmed_nnu.napari_plugin.layer_image import LayerImage

if TYPE_CHECKING:
    import pandas

    from maskmed_nnu.api.model import Model
    from maskmed_nnu.api.prediction import Prediction

MICROSCOPIC = 0.01
"""Pixels below that many mm are measured in micrometres"""
LayerData = tuple[NDArray[Any], dict[str, Any], str]
"""As napari's plugins give layers: data, arguments, kind"""


def label_layers(prediction: Prediction, image: LayerImage, model: Model) -> list[LayerData]:
    """A layer of labels, or one for each layer of a data set whose objects overlap, where ``image`` lies.

    Their ``features`` have a row for each label in them, which napari finds by the column ``index``: class, score, size
    and place of objects, class and size of classes.
    """
    labels = prediction.labels
    layers = list(labels) if labels.ndim > len(prediction.axes) else [labels]
    used = [one for one in layers if one.any()] or layers[:1]
    table = _features(prediction, model)
    name = f"{image.name} {'objects' if prediction.has_objects else 'classes'}"
    told = {"model": model.source.name, "notes": [*image.notes, *prediction.notes]}
    found = []
    for number, one in enumerate(used, 1):
        here = np.unique(one)
        features = table[table["index"].isin(here)].sort_values("index") if prediction.has_objects else table
        arguments = {
            "name": name if len(used) == 1 else f"{name} {number}",
            "features": features.reset_index(drop=True),
            "metadata": {"maskmed": told},
            **image.placement.arguments,
        }
        values = one.astype(np.int32 if one.dtype.kind == "u" and one.dtype.itemsize < 4 else one.dtype)
        found.append((image.placement.data(values), arguments, "labels"))
    return found


def _features(prediction: Prediction, model: Model) -> pandas.DataFrame:
    """The table with napari's name for the label, without background and hidden objects, with rows for stuff."""
    import pandas

    table = prediction.to_table().rename(columns={"id": "index"})
    known_elsewhere = ["area", "world_x", "world_y", "world_z"]  # sizes with a unit, places from the layer
    table = table[table["index"] > 0].drop(columns=known_elsewhere, errors="ignore")
    if prediction.spacing is not None and max(prediction.spacing[-2:]) < MICROSCOPIC:
        for column, name, times in (
            ("area_mm2", "area_um2", 1e6),
            ("volume_mm3", "volume_um3", 1e9),
            ("equivalent_diameter_area", "equivalent_diameter_um", 1e3),
        ):
            if column in table:
                table = table.assign(**{column: table[column] * times}).rename(columns={column: name})
    divisor = model.source.dataset_json.get("label_divisor")
    if prediction.has_objects and divisor:
        values, pixels = np.unique(prediction.labels, return_counts=True)
        stuff = (values > 0) & (values % divisor == 0)
        rows = {
            "index": values[stuff],
            "class": [prediction.names.get(int(value) // divisor, "") for value in values[stuff]],
            "pixels": pixels[stuff],
        }
        table = pandas.concat([table, pandas.DataFrame(rows)], ignore_index=True) if stuff.any() else table
    return table
