"""From image layers to layers of labels, without a window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmed_nnu.api.model import Model, load
from maskmed_nnu.napari_plugin.label_layers import LayerData, label_layers
from maskmed_nnu.napari_plugin.layer_image import layer_image
from maskmed_nnu.progress import Progress

if TYPE_CHECKING:
    from maskmed_nnu.progress import Report


def segment(
    layers: Any | Sequence[Any],
    model: Model | str | Path = "nuclei",
    *,
    axes: str | None = None,
    progress: Report | None = None,
) -> list[LayerData]:
    """Predict an image layer of napari.

    Parameters
    ----------
    layers
        An image layer; or a list of several, one for each channel that the model needs.
    model
        What `load` takes, or has returned.
    axes
        A letter for each axis of the layers' data where the layers do not say: T (frames), C (channels), Z, Y, X.
    progress
        Is called with a `Progress`; what it raises stops the prediction and comes out.

    Returns
    -------
    list
        Data, arguments and kind of each layer of labels, as ``Layer.create`` and ``viewer.add_labels`` of napari take
        them. It lies where the image lies.

    Raises
    ------
    InputError
        Where the layer does not fit the model.

    Examples
    --------
    >>> for data, arguments, _ in segment(viewer.layers["nuclei"]):  # doctest: +SKIP
    ...     viewer.add_labels(data, **arguments)
    """
    model = model if isinstance(model, Model) else load(model)
    given = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    if progress is not None:
        progress(Progress("loading", 0, 1))
    with model._threads():
        image = layer_image(given, model._reader(), axes=axes)
    prediction = model.predict(image.array, spacing=image.spacing, axes=image.axes, progress=progress)
    return label_layers(prediction, image, model)
