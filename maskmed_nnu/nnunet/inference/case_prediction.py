"""The objects of one preprocessed case, from a network that predicts one tile at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

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
from maskmed_nnu.instances.stitching.tiles import Tile, plan_tiles
from maskmed_nnu.networks.output import TileInstances
from maskmed_nnu.nnunet.inference.pass_progress import STAGE
from maskmed_nnu.progress import Progress, Report

SCORE_THRESHOLD = 0.5
CONFIDENT_SCORE = 0.25
"""Score from which a query counts as one that found an object, even if lower scores are asked for too."""


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
    """The objects of every slice of ``data [C, Z, H, W]``: one `Detections` of shape ``(H, W)`` per slice.

    ``tile_size`` and ``overlap`` of neighbouring tiles are in pixels. ``mirror_axes``: 0 for y, 1 for x; all their
    combinations are predicted. ``states``: weights of several folds, loaded into ``network`` in turn; without any it
    is taken as it is. ``network.predict_instances`` gives indices into ``thing_classes``; those and ``stuff_classes``
    are class numbers of ``dataset.json``. Objects below ``score_threshold`` after all averaging are left out. ``warn``
    is called with a sentence where a tile has as many objects as the network has queries, so that others may be
    missing; ``report`` with a `Progress` before each pass of the network, and at the end.

    The views of a tile (mirrorings × folds) are merged before the tiles are stitched. Where all views agree the other
    order gives the same objects; this one stitches once instead of once per view, and decides once whether fragments
    belong together, so that no fragments of one view are left beside the whole object of another.
    """
    inner: Any = instance_network(network)
    assert inner is not None, "the network has no predict_instances"
    inner = inner.to(device).eval()
    shape = _pair(data.shape[2:])
    tiles = plan_tiles(shape, _pair(tile_size), _pair(overlap))
    slice_tiles = [(z, tile) for z in range(data.shape[1]) for tile in tiles]
    flips = [axes for n in range(len(mirror_axes) + 1) for axes in itertools.combinations(mirror_axes, n)]
    views: list[list[Detections]] = [[] for _ in slice_tiles]
    stuff = _StuffMap(data.shape[1:], stuff_classes, tile_size) if stuff_classes else None
    autocast = torch.autocast("cuda") if device.type == "cuda" else nullcontext()
    steps = [
        range(first, min(first + batch_size, len(slice_tiles))) for first in range(0, len(slice_tiles), batch_size)
    ]
    done, total = 0, len(slice_tiles) * len(flips) * max(len(states), 1)
    num_queries, confident = getattr(inner, "num_queries", None), max(score_threshold, CONFIDENT_SCORE)
    saturated: set[int] = set()
    with autocast, tqdm(total=len(slice_tiles) * max(len(states), 1), disable=not show_progress) as bar:
        for state in states or (None,):
            if state is not None:
                inner.load_state_dict(state)
            for step in steps:
                batch = torch.stack([_crop_tile(data, *slice_tiles[i]) for i in step]).to(device)
                for axes in flips:
                    if report is not None:
                        report(Progress(STAGE, done, total))
                    done += len(step)
                    outputs = inner.predict_instances(batch.flip([2 + axis for axis in axes]))
                    for i, output in zip(step, outputs, strict=True):
                        z, tile = slice_tiles[i]
                        if (
                            num_queries is not None
                            and len(output.scores) >= num_queries
                            and min(output.scores) >= confident
                        ):
                            saturated.add(i)
                        views[i].append(_tile_detections(output, tile, axes, thing_classes))
                        if stuff is not None:
                            stuff.add(output.semantic.flip([1 + axis for axis in axes]), z, tile)
                bar.update(len(step))
    if report is not None:
        report(Progress(STAGE, total, total))
    if saturated and warn is not None:
        warn(
            f"In {len(saturated)} of {len(slice_tiles)} tiles each of the network's {num_queries} queries found an "
            "object, so that others may be missing: raise num_queries in the model's plans.json (image "
            "queries need no new training)."
        )
    slices = []
    for z in range(data.shape[1]):
        merged = [
            merge_views(view) if len(view) > 1 else view[0] for view in views[z * len(tiles) : (z + 1) * len(tiles)]
        ]
        detections = stitch(tiles, merged, shape)
        detections = detections.select(detections.scores >= score_threshold)
        slices.append(detections if stuff is None else replace(detections, stuff=stuff.classes(z)))
    return slices


def _pair(edges: Sequence[int]) -> tuple[int, int]:
    height, width = edges
    return height, width


def _crop_tile(data: Tensor, z: int, tile: Tile) -> Tensor:
    """``[C, *tile.size]``, zeros below and to the right of a smaller image."""
    (_, below), (_, right) = tile.padding
    rows, columns = tile.slices
    return F.pad(data[:, z, rows, columns], (0, right, 0, below))


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
    return mask_nms(detections.flip(axes).shift((0, 0), _window_shape(tile)))


def _window_shape(tile: Tile) -> tuple[int, int]:
    height, width = (stop - start for start, stop in zip(tile.start, tile.stop, strict=True))
    return height, width


class _StuffMap:
    """Class probabilities ``[Z, 1 + K, H, W]`` summed over tiles and views; a tile's centre counts most."""

    def __init__(self, shape: Sequence[int], stuff_classes: Sequence[int], tile_size: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.stuff_classes = list(stuff_classes)
        self.weight = compute_gaussian(tuple(tile_size), dtype=torch.float32, device=torch.device("cpu"))
        self.total: Tensor | None = None

    def add(self, probabilities: Tensor, z: int, tile: Tile) -> None:
        if self.total is None:
            self.total = torch.zeros(self.shape[0], len(probabilities), *self.shape[1:])
        height, width = _window_shape(tile)
        part = (probabilities.float().cpu() * self.weight)[:, :height, :width]
        rows, columns = tile.slices
        self.total[z, :, rows, columns] += part

    def classes(self, z: int) -> np.ndarray:
        """int16 ``[H, W]``: the most probable class where that is stuff, else 0. No weight divides it: all classes
        of a pixel have the same."""
        assert self.total is not None, "every tile is added before"
        number = self.total[z].argmax(0).to(torch.int16)
        is_stuff = torch.isin(number, torch.tensor(self.stuff_classes, dtype=torch.int16))
        return torch.where(is_stuff, number, 0).numpy()
