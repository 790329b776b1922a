"""nnU-Net's sliding window for many classes: labels of an image whose logits are never whole in memory.

nnU-Net adds up the logits of all tiles, 9.4 GB in half precision for 60 classes in 512×512×300 voxels, and sends them
to another process. Here tiles come in their order along one axis; planes that no later tile reaches are labelled and
forgotten. Views and folds take turns at each step along the axis, so that their mean is complete with it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.helpers import empty_cache
from torch import Tensor
from tqdm import tqdm

from maskmed_nnu.nnunet.inference.label_planes import LabelPlanes
from maskmed_nnu.nnunet.inference.mirrored_views import View, planned_views
from maskmed_nnu.nnunet.inference.pass_progress import STAGE
from maskmed_nnu.nnunet.plans_handling.label_export import labels_by_plane
from maskmed_nnu.progress import counted

STEP = 16
"""Planes after which folds take turns, at the earliest: each turn loads the weights of a fold."""
WHOLE = View((), None, None)


class Tile(NamedTuple):
    """What the network sees, ``[C, *patch]``, and which part of its answer lies where in the image."""

    image: np.ndarray
    source: tuple[slice, ...]
    target: tuple[slice, ...]
    mirrored: list[int]
    """Axes of the image"""
    outputs: list[int] | None
    """The order of the channels; None: as they are"""
    weights: list[Tensor]
    """Along each axis of the image"""


def wrap_data_iterator(predictor_class: Any) -> None:
    """Wrap ``nnUNetPredictor.predict_from_data_iterator``: the predictor knows what image it has at hand."""
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
            print(f"{sums_on} has no room for the logits, so they are added up in the computer's memory.")
            empty_cache(sums_on)
            return _predict(predictor, data, [WHOLE, *mirrored], torch.device("cpu"))
    finally:
        predictor.allowed_mirroring_axes = trained
        empty_cache(predictor.device)


def _predict(predictor: Any, image: np.ndarray, views: Sequence[View], sums_on: torch.device) -> Tensor:
    patch = [int(edge) for edge in predictor.configuration_manager.patch_size]
    shape, solid = image.shape[1:], [1] * (3 - len(patch)) + patch
    axis = min(range(3), key=lambda along: solid[along] / shape[along])  # the share of the image that is kept
    tiles = [tile for view in views for tile in _tiles(predictor, image, view, patch)]
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
    sums = _PlaneSums(shape, axis, share=1 / (len(views) * len(states)), device=sums_on)
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


def _tiles(predictor: Any, image: np.ndarray, view: View, patch: Sequence[int]) -> Iterator[Tile]:
    """nnU-Net's tiles of a view of ``image`` [C, z, y, x], and where they lie in the image itself."""
    mirrored = [axis + 3 - len(patch) for axis in view.axes]
    seen = np.flip(image if view.inputs is None else image[view.inputs], [axis + 1 for axis in mirrored])  # no copy
    padded, (_, *inside) = pad_nd_image(seen, patch, return_slicer=True)
    slicers = predictor._internal_get_sliding_window_slicers(padded.shape[1:])
    weights = _axis_weights(slicers, padded.shape[1:], gaussian=predictor.use_gaussian)
    for slicer in slicers:
        source, target, weight = [], [], []
        for axis, (own, edge) in enumerate(zip(inside, image.shape[1:], strict=True)):
            begin, end = _span(slicer[axis + 1])
            first, last = max(begin, int(own.start)), min(end, int(own.stop))
            source.append(slice(first - begin, last - begin))
            low, high = first - int(own.start), last - int(own.start)
            of_axis = weights[axis][begin][source[-1]]
            target.append(slice(edge - high, edge - low) if axis in mirrored else slice(low, high))
            weight.append(of_axis.flip(0) if axis in mirrored else of_axis)
        yield Tile(padded[slicer], tuple(source), tuple(target), mirrored, view.outputs, weight)


def _span(part: slice | int) -> tuple[int, int]:
    return (part.start, part.stop) if isinstance(part, slice) else (part, part + 1)


def _axis_weights(
    slicers: Sequence[tuple[Any, ...]], shape: Sequence[int], *, gaussian: bool
) -> list[dict[int, Tensor]]:
    """For each axis, by where a tile begins, its weights along it; those of all tiles at a position sum to one.

    nnU-Net's Gaussian is a product over the axes, its tiles are a grid, and so the weights of a voxel are products.
    """
    found = []
    for axis, edge in enumerate(shape):
        weights, total = {}, torch.zeros(edge)
        for begin, end in sorted({_span(slicer[axis + 1]) for slicer in slicers}):
            weights[begin] = torch.ones(end - begin)
            if gaussian and end - begin > 1:
                weights[begin] = compute_gaussian((end - begin,), dtype=torch.float32, device=torch.device("cpu"))
            total[begin:end] += weights[begin]
        found.append({begin: weight / total[begin : begin + len(weight)] for begin, weight in weights.items()})
    return found


class _PlaneSums:
    """Weighted sums of tiles in those planes along ``axis`` that are neither untouched nor finished.

    ``share`` is that of each view and fold. In single precision, for in nnU-Net's half precision partners such as left
    and right are equal here and there.
    """

    def __init__(self, shape: Sequence[int], axis: int, *, share: float, device: torch.device) -> None:
        self.plane_shape = [edge for along, edge in enumerate(shape) if along != axis]
        self.axis, self.share, self.device, self.next = axis, share, device, 0
        self.planes: dict[int, Tensor] = {}

    def add(self, logits: Tensor, tile: Tile) -> None:
        """``logits [K, *patch]``."""
        logits = logits[(slice(None), *tile.source)]
        if tile.mirrored:
            logits = torch.flip(logits, [axis + 1 for axis in tile.mirrored])
        across = tile.target[self.axis]
        within = tuple(part for along, part in enumerate(tile.target) if along != self.axis)
        rows, columns = (weight for along, weight in enumerate(tile.weights) if along != self.axis)
        weight = (self.share * rows[:, None] * columns).to(self.device)
        shares = tile.weights[self.axis].tolist()
        for index, plane, share in zip(
            range(across.start, across.stop), logits.unbind(self.axis + 1), shares, strict=True
        ):
            if index not in self.planes:
                self.planes[index] = torch.zeros((len(logits), *self.plane_shape), device=self.device)
            plane = plane if tile.outputs is None else plane[tile.outputs]
            self.planes[index][(slice(None), *within)].addcmul_(plane.float(), weight, value=share)

    def finished(self, stop: int) -> Iterator[Tensor]:
        """Logits ``[K, h, w]`` of the planes before ``stop``, which are forgotten."""
        while self.next < stop:
            yield self.planes.pop(self.next)
            self.next += 1
