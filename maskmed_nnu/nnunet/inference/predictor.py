"""The predictor hook: networks that predict instances go through nnU-Net's own commands.

nnU-Net's predictor returns an array of logits per case, which it sends to a process that resamples and exports it. Here
that array is a vector of bytes, the packed `Detections` of a volume or of its slices, which `export` there unpacks; of
many classes it is the labels (`plane_prediction`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from types import ModuleType
from typing import Any

import numpy as np
import torch
from nnunetv2.configuration import default_num_processes
from torch import Tensor

from maskmed_nnu.instances.detections import Detections, pack
from maskmed_nnu.instances.stitching.stitch import MARGIN
from maskmed_nnu.nnunet.inference.case_prediction import SCORE_THRESHOLD, instance_network, predict_case
from maskmed_nnu.nnunet.inference.file_prediction import wrap_file_prediction
from maskmed_nnu.nnunet.inference.mirrored_views import wrap_mirrored_views
from maskmed_nnu.nnunet.inference.plane_prediction import LaterLabels, predict_labels, wrap_plane_prediction
from maskmed_nnu.nnunet.inference.prediction_loop import wrap_prediction_loop


def wrap_predictor(module: ModuleType) -> None:
    """Wrap `nnUNetPredictor` in ``nnunetv2.inference.predict_from_raw_data``.

    Two methods predict, because nnU-Net's trainer calls the second directly for its final validation.
    """
    predictor_class = module.nnUNetPredictor
    stock_logits = predictor_class.predict_logits_from_preprocessed_data
    stock_window = predictor_class.predict_sliding_window_return_logits

    @functools.wraps(stock_logits)
    def predict_logits_from_preprocessed_data(self: Any, data: Tensor) -> Tensor | LaterLabels:
        objects = instance_network(self.network) is not None
        if not objects and not hasattr(self, "image_properties"):
            return LaterLabels(self, data) if hasattr(self, "labels_later") else stock_logits(self, data)
        threads = torch.get_num_threads()
        torch.set_num_threads(min(default_num_processes, threads))
        try:
            return packed_detections(self, data, self.list_of_parameters) if objects else predict_labels(self, data)
        finally:
            torch.set_num_threads(threads)

    @functools.wraps(stock_window)
    def predict_sliding_window_return_logits(self: Any, input_image: Tensor) -> Tensor:
        if instance_network(self.network) is None:
            return stock_window(self, input_image)
        return packed_detections(self, input_image)

    predictor_class.predict_logits_from_preprocessed_data = predict_logits_from_preprocessed_data
    predictor_class.predict_sliding_window_return_logits = predict_sliding_window_return_logits
    wrap_prediction_loop(predictor_class)  # before planes are wanted of the images that it is given
    wrap_plane_prediction(predictor_class)
    wrap_file_prediction(predictor_class)
    wrap_mirrored_views(predictor_class)


def packed_detections(predictor: Any, data: Tensor, states: Sequence[Mapping[str, Any]] = ()) -> Tensor:
    """The objects of ``data [C, Z, Y, X]`` as one uint8 vector; `states` are the folds' weights.

    What a user should know of the image is printed, or given to the predictor's ``warn`` where that is set; its
    ``report``, where that is set, is told how many passes of the network are done.

    Nothing here takes a ``RuntimeError`` for a lack of memory, as nnU-Net's own sliding window does: what goes wrong
    shows as what it is.
    """
    return torch.from_numpy(pack(find_objects(predictor, data, states)))


def find_objects(predictor: Any, data: Tensor, states: Sequence[Mapping[str, Any]] = ()) -> list[Detections]:
    """See `packed_detections`: those of the volume, or of each of its slices."""
    configuration = predictor.configuration_manager.configuration
    warn = getattr(predictor, "warn", print)
    if data.shape[1] > 1 and len(configuration["patch_size"]) == 2:
        warn(
            f"This image is a volume of {data.shape[1]} slices: objects are predicted slice by slice, and ids "
            "are not linked across slices."
        )
    return predict_case(
        predictor.network,
        data,
        tile_size=configuration["patch_size"],
        overlap=tile_overlap(configuration, predictor.tile_step_size),
        mirror_axes=(predictor.allowed_mirroring_axes or ()) if predictor.use_mirroring else (),
        device=predictor.device,
        states=states,
        show_progress=predictor.allow_tqdm,
        warn=warn,
        report=getattr(predictor, "report", None),
        **prediction_settings(configuration),
    )


@contextmanager
def low_scores_kept(predictor: Any, low_score: float, tell: Callable[[str], object]) -> Iterator[float]:
    """Objects from ``low_score`` on are found, and ``tell`` gets the warnings; gives the planned threshold."""
    configuration = predictor.configuration_manager.configuration
    planned = configuration["instances"]
    threshold = float(prediction_settings(configuration)["score_threshold"])
    configuration["instances"] = {**planned, "score_threshold": min(low_score, threshold)}
    predictor.warn = tell
    try:
        yield threshold
    finally:
        configuration["instances"] = planned
        del predictor.warn


def tile_overlap(configuration: Mapping[str, Any], tile_step_size: float) -> tuple[int, ...]:
    """Pixels that neighbouring tiles share, along each axis: nnU-Net's, and no less than a large object needs to lie
    within one tile.

    Hardly any object exceeds the planned ``window`` (one edge, or one for each axis), in which the network draws a
    mask. More than half a tile is left to ``tile_step_size`` alone: larger objects are joined from fragments, which is
    cheaper than the many tiles that would show them whole.
    """
    patch, window = configuration["patch_size"], configuration["architecture"].get("arch_kwargs", {}).get("window", 0)
    shared = []
    for edge, of_object in zip(patch, np.broadcast_to(window, len(patch)).tolist(), strict=True):
        overlap = max(ceil(edge * (1 - tile_step_size)), min(of_object + 2 * MARGIN, edge // 2))
        shared.append(min(max(overlap, 1), edge - 1))
    return tuple(shared)


def prediction_settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration of ``plans.json`` says about prediction, as arguments of `predict_case`."""
    instances = configuration["instances"]
    return {
        "thing_classes": instances["thing_classes"],
        "stuff_classes": instances.get("stuff_classes", ()),
        "score_threshold": instances.get("score_threshold", SCORE_THRESHOLD),
        # what fits into memory in training fits all the more without gradients
        "batch_size": configuration.get("batch_size", 1),
    }
