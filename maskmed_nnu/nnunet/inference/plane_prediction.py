"""nnU-Net's sliding window for many classes: labels of an image whose logits are never whole in memory.

nnU-Net adds up the logits of all tiles, 9.4 GB in half precision for 60 classes in 512×512×300 voxels, and sends them
to another process. Here tiles come in their order along one axis; planes that no later tile reaches are labelled and
forgotten. Views and folds take turns at each step along the axis, so that their mean is complete with it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.utilities.helpers import empty_cache
from torch import Tensor
from tqdm import tqdm

from maskmed_nnu.nnunet.inference.label_planes import LabelPlanes
from maskmed_nnu.nnunet.inference.mirrored_views import View, planned_views
from maskmed_nnu.nnunet.inference.pass_progress import STAGE
from maskmed_nnu.nnunet.inference.plane_sums import PlaneSums, tiles_of
from maskmed_nnu.nnunet.plans_handling.label_export import labels_by_plane
from maskmed_nnu.progress import counted

STEP = 16
"""Planes after which folds take turns, at the earliest: each turn loads the weights of a fold."""
WHOLE = View((), None, None)


class LaterLabels(NamedTuple):
    """In the place of logits, where nnU-Net tells nobody but its export, in the same process, whose they are."""

    predictor: Any
    image: Tensor

    def cpu(self) -> LaterLabels:
        return self

    def labels(self, properties: Mapping[str, Any]) -> np.ndarray:
        """See `predict_labels`."""
        with labels_wanted(self.predictor, properties):
            predicted: Tensor = self.predictor.predict_logits_from_preprocessed_data(self.image)
        return predicted.numpy()


def wrap_plane_prediction(predictor_class: Any) -> None:
    """Wrap what ``nnUNetPredictor`` has for images: where plans ask for it and no probabilities are wanted, labels are
    predicted, not logits."""
    _wrap_data_iterator(predictor_class)
    for name, probabilities in (
        ("predict_from_files_sequential", "save_probabilities"),
        ("predict_single_npy_array", "save_or_return_probabilities"),
    ):
        setattr(predictor_class, name, _labelled_later(getattr(predictor_class, name), probabilities))


def _labelled_later(stock: Callable[..., Any], probabilities: str) -> Callable[..., Any]:
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        if given.arguments[probabilities] or not predicts_by_plane(self):
            return stock(self, *args, **kwargs)
        self.labels_later = True
        try:
            return stock(self, *args, **kwargs)
        finally:
            del self.labels_later

    return predict


def _wrap_data_iterator(predictor_class: Any) -> None:
    """The predictor knows which image of an iterator it has at hand."""
    stock = predictor_class.predict_from_data_iterator
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def predict_from_data_iterator(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        if given.arguments["save_probabilities"] or not predicts_by_plane(self):
            return stock(self, *args, **kwargs)

        def images(iterator: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            for image in iterator:
                with labels_wanted(self, image["data_properties"]):
                    yield image

        given.arguments["data_iterator"] = images(given.arguments["data_iterator"])
        return stock(*given.args, **given.kwargs)

    predictor_class.predict_from_data_iterator = predict_from_data_iterator


def predicts_by_plane(predictor: Any) -> bool:
    """Whether the plans ask for it."""
    return labels_by_plane(predictor.plans_manager.plans, predictor.configuration_manager.configuration)


@contextmanager
def labels_wanted(predictor: Any, properties: Mapping[str, Any]) -> Iterator[None]:
    """Within, ``predict_logits_from_preprocessed_data`` gives the labels of an image of these ``properties``."""
    predictor.image_properties = properties
    try:
        yield
    finally:
        del predictor.image_properties


@torch.inference_mode()
def predict_labels(predictor: Any, image: Tensor) -> Tensor:
    """Labels [Z, Y, X], integers, of the cropped image at its own resolution, from ``image`` [C, z, y, x] at the
    network's; within `labels_wanted`."""
    predictor.network = predictor.network.to(predictor.device).eval()
    data, trained = image.cpu().numpy(), predictor.allowed_mirroring_axes
    predictor.allowed_mirroring_axes, mirrored = planned_views(predictor, len(data))
    sums_on = predictor.device if predictor.perform_everything_on_device else torch.device("cpu")
    try:
        with torch.autocast("cuda") if predictor.device.type == "cuda" else nullcontext():
            try:
                return _predict(predictor, data, [WHOLE, *mirrored], sums_on)
            except torch.OutOfMemoryError:
                if sums_on.type == "cpu":
                    raise
            print(f"{sums_on} does not have enough memory for the logits, so they are accumulated in main memory.")
            empty_cache(sums_on)
            return _predict(predictor, data, [WHOLE, *mirrored], torch.device("cpu"))
    finally:
        predictor.allowed_mirroring_axes = trained
        empty_cache(predictor.device)


def _predict(predictor: Any, image: np.ndarray, views: Sequence[View], sums_on: torch.device) -> Tensor:
    patch = [int(edge) for edge in predictor.configuration_manager.patch_size]
    shape, solid = image.shape[1:], [1] * (3 - len(patch)) + patch
    # the smaller share of the image is kept; planes across the last axis would be read number by number
    axis = min((0, 1), key=lambda along: solid[along] / shape[along])
    tiles = [tile for view in views for tile in tiles_of(predictor, image, view, patch)]
    tiles.sort(key=lambda tile: tile.target[axis].start)
    states = predictor.list_of_parameters
    passes = [
        (together[0].target[axis].start, fold, tile)
        for _, group in groupby(tiles, key=lambda tile: tile.target[axis].start // STEP)
        for together in [list(group)]
        for fold in range(len(states))
        for tile in together
    ]
    planes = LabelPlanes.of_image(predictor, predictor.image_properties, shape=shape, axis=axis)
    sums = PlaneSums(shape, axis, share=1 / (len(views) * len(states)), device=sums_on)
    counting = counted(passes, STAGE, getattr(predictor, "report", None))
    loaded = None
    for start, fold, tile in tqdm(counting, total=len(passes), disable=not predictor.allow_tqdm):
        for logits in sums.finished(start):
            planes.add(logits)
        if fold != loaded:
            getattr(predictor.network, "_orig_mod", predictor.network).load_state_dict(states[fold])
            loaded = fold
        seen = torch.from_numpy(np.ascontiguousarray(tile.image)[None]).to(predictor.device)
        logits = predictor._internal_maybe_mirror_and_predict(seen)[0].to(sums_on)
        sums.add(logits.view(-1, *solid), tile)
    for logits in sums.finished(shape[axis]):
        planes.add(logits)
    return planes.labels
