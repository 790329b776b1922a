"""The objects of one preprocessed case, from a network that predicts one tile at a time."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from maskmed_nnu.instances.detections import Detections, make_detections
from maskmed_nnu.instances.stitching.merging import mask_nms, merge_views
from maskmed_nnu.instances.stitching.stitch import stitch
from maskmed_nnu.instances.stitching.tiles import Tile, larger_tile, plan_tiles
from maskmed_nnu.networks.output import TileInstances
from maskmed_nnu.nnunet.inference.pass_progress import STAGE
from maskmed_nnu.progress import Progress, Report

T = TypeVar("T")
SCORE_THRESHOLD = 0.5
PREDICTED_PIXELS = 4
"""Pixels in a pass of prediction for each pixel of a training step: what backpropagation keeps is several times what
one stage needs at once."""
CONFIDENT_SCORE = 0.25
"""Score from which a query counts as one that found an object, even if lower scores are requested too."""


def instance_network(network: nn.Module) -> nn.Module | None:
    """The network inside DDP and ``torch.compile`` if it predicts instances, else None."""
    if isinstance(network, DistributedDataParallel):
        network = network.module
    if isinstance(network, OptimizedModule):
        network = network._orig_mod
    # the same class may serve plans of labels, too
    predicts_instances = hasattr(network, "predict_instances") and getattr(network, "predicts_instances", True)
    return network if predicts_instances else None


@torch.inference_mode()
def predict_case(
    network: nn.Module,
    data: Tensor,
    *,
    tile_size: Sequence[int],
    overlap: Sequence[int],
    mirror_axes: Sequence[int],
    device: torch.device,
    thing_classes: Sequence[int],
    stuff_classes: Sequence[int] = (),
    score_threshold: float = SCORE_THRESHOLD,
    batch_size: int = 1,
    states: Sequence[Mapping[str, Any]] = (),
    show_progress: bool = False,
    warn: Callable[[str], None] | None = None,
    report: Report | None = None,
) -> list[Detections]:
    """The objects of ``data [C, Z, Y, X]``: one `Detections` of its whole shape where ``tile_size`` has three edges,
    one of shape ``(Y, X)`` for every slice where it has two.

    ``tile_size`` and ``overlap`` of neighbouring tiles are in pixels. ``mirror_axes``: 0 for the tile's first axis; all
    their combinations are predicted. ``states``: weights of several folds, loaded into ``network`` in turn; without any
    it is taken as it is. ``network.predict_instances`` gives indices into ``thing_classes``; those and
    ``stuff_classes`` are class numbers of ``dataset.json``. Objects below ``score_threshold`` after all averaging are
    left out. ``batch_size`` is the number of tiles, or mirrored views of one, in a pass. A network with a
    ``tile_divisor`` takes tiles of other sizes too; theirs grow up to the memory of a training step
    (`PREDICTED_PIXELS`), so that less of an image is computed twice. ``warn`` is called with a sentence where a tile
    has as many objects as the network has queries, so that others may be missing; ``report`` with a `Progress` before
    each pass of the network, and at the end.

    The views of a tile (mirrorings × folds) are merged before the tiles are stitched. Where all views agree the other
    order gives the same objects; this one stitches once instead of once per view, and decides once whether fragments
    belong together, so that no fragments of one view are left beside the whole object of another. What is kept of a
    volume are thus its objects, cropped, a few times each.
    """
    inner: Any = instance_network(network)
    assert inner is not None, "the network has no predict_instances"
    inner = inner.to(device).eval()
    in_slices = len(tile_size) < data.ndim - 1
    images = list(data.unbind(1)) if in_slices else [data]
    shape = tuple(images[0].shape[1:])
    divisor = getattr(inner, "tile_divisor", None)
    if divisor is not None:
        room = PREDICTED_PIXELS * batch_size * prod(tile_size)
        tile_size = larger_tile(shape, tile_size, divisor=divisor, pixels=room)
        batch_size = max(room // prod(tile_size), 1)
    tiles = plan_tiles(shape, tile_size, overlap)
    places = [(number, tile) for number in range(len(images)) for tile in tiles]
    flips = [axes for n in range(len(mirror_axes) + 1) for axes in itertools.combinations(mirror_axes, n)]
    views: dict[int, list[Detections]] = defaultdict(list)
    merged: dict[int, Detections] = {}
    stuff = _StuffMap(len(images), shape, stuff_classes, tile_size) if stuff_classes else None
    autocast = torch.autocast("cuda") if device.type == "cuda" else nullcontext()
    # Weights are loaded once for all slices, but for every few tiles of a volume, all views of which are too many.
    rounds = [range(len(places))] if in_slices else _chunks(range(len(places)), batch_size)
    done, total = 0, len(places) * len(flips) * max(len(states), 1)
    num_queries, confident = getattr(inner, "num_queries", None), max(score_threshold, CONFIDENT_SCORE)
    saturated: set[int] = set()
    loaded = None
    with autocast, tqdm(total=total, disable=not show_progress) as bar:
        for around, state in itertools.product(rounds, states or (None,)):
            if state is not loaded:
                inner.load_state_dict(state)
                loaded = state
            for step in _chunks([(i, axes) for i in around for axes in flips], batch_size):
                if report is not None:
                    report(Progress(STAGE, done, total))
                done += len(step)
                batch = [_crop_tile(images[places[i][0]], places[i][1]).flip([1 + a for a in axes]) for i, axes in step]
                outputs = inner.predict_instances(torch.stack(batch).to(device))
                for (i, axes), output in zip(step, outputs, strict=True):
                    number, tile = places[i]
                    if (
                        num_queries is not None
                        and len(output.scores) >= num_queries
                        and min(output.scores) >= confident
                    ):
                        saturated.add(i)
                    views[i].append(_tile_detections(output, tile, axes, thing_classes))
                    if stuff is not None:
                        stuff.add(output.semantic.flip([1 + axis for axis in axes]), number, tile)
                    if len(views[i]) == len(flips) * max(len(states), 1):
                        merged[i] = merge_views(views[i]) if len(views[i]) > 1 else views[i][0]
                        del views[i]
                bar.update(len(step))
    if report is not None:
        report(Progress(STAGE, total, total))
    if saturated and warn is not None:
        warn(
            f"In {len(saturated)} of {len(places)} tiles each of the network's {num_queries} queries found an object, "
            "so objects may be missing: raise num_queries in the model's plans.json (image queries need no new "
            "training)."
        )
    found = []
    for number in range(len(images)):
        of_image = [merged.pop(i) for i in range(number * len(tiles), (number + 1) * len(tiles))]
        detections = stitch(tiles, of_image, shape)
        detections = detections.select(detections.scores >= score_threshold)
        found.append(detections if stuff is None else replace(detections, stuff=stuff.classes(number)))
    return found


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _crop_tile(image: Tensor, tile: Tile) -> Tensor:
    """``[C, *tile.size]``, zeros beyond the far ends of a smaller image."""
    last_axis_first = [n for along_axis in reversed(tile.padding) for n in along_axis]
    return F.pad(image[(slice(None), *tile.slices)], last_axis_first)


def _tile_detections(
    output: TileInstances, tile: Tile, axes: Sequence[int], thing_classes: Sequence[int]
) -> Detections:
    """A network's output for a mirrored tile as objects of the tile's window, each of them once."""
    detections = make_detections(
        tile.size,
        output.boxes.tolist(),
        [mask.cpu().numpy() for mask in output.masks],
        output.scores.float().tolist(),
        np.asarray(thing_classes, np.int64)[output.classes.cpu().numpy()],
    )
    return mask_nms(detections.flip(axes).shift([0] * len(tile.size), _window_shape(tile)))


def _window_shape(tile: Tile) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in zip(tile.start, tile.stop, strict=True))


class _StuffMap:
    """Class probabilities ``[N, 1 + K, *shape]`` summed over tiles and views; a tile's centre counts most."""

    def __init__(
        self, images: int, shape: Sequence[int], stuff_classes: Sequence[int], tile_size: Sequence[int]
    ) -> None:
        self.images, self.shape = images, tuple(shape)
        self.stuff_classes = list(stuff_classes)
        self.weight = compute_gaussian(tuple(tile_size), dtype=torch.float32, device=torch.device("cpu"))
        self.total: Tensor | None = None

    def add(self, probabilities: Tensor, number: int, tile: Tile) -> None:
        if self.total is None:
            self.total = torch.zeros(self.images, len(probabilities), *self.shape)
        window = tuple(map(slice, _window_shape(tile)))
        part = (probabilities.float().cpu() * self.weight)[(slice(None), *window)]
        self.total[number][(slice(None), *tile.slices)] += part

    def classes(self, number: int) -> np.ndarray:
        """int16 ``[*shape]``: the most probable class where that is stuff, else 0. No weight divides it: all classes
        of a pixel have the same."""
        assert self.total is not None, "every tile is added before"
        likeliest = self.total[number].argmax(0).to(torch.int16)
        is_stuff = torch.isin(likeliest, torch.tensor(self.stuff_classes, dtype=torch.int16))
        return torch.where(is_stuff, likeliest, 0).numpy()
