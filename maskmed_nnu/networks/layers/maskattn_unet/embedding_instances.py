"""From pixel embeddings to objects, for one tile.

How MaskAttn-UNet's embeddings become objects is not published. The simple way, components of similar neighbouring
pixels, joins two objects wherever the embedding changes from one to the other gradually, over a few pixels, as it does
in most networks. So pixels near such an edge of the embedding are left out first. The components of the others are the
objects' cores, and each pixel left out then goes to the most similar core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from torch import Tensor

from maskmed_nnu.networks.layers.maskattn_unet.region_merging import Regions, adjacent_pairs, merge_regions, sum_rows
from maskmed_nnu.networks.output import TileInstances

EDGE_DISTANCES = (2, 4)
"""A core pixel is in the middle of two pixels at each of these distances, which must be similar. An edge wider than the
largest distance is not noticed; an object no wider than that, between two others, has no core (step 3 finds it)."""
TOUCHING = 2
"""A region that touches another one needs this many times ``min_pixels`` to stay an object of its own; a smaller one is
more often a part of its neighbour."""


@torch.no_grad()
def cluster(embeddings: Tensor, things: Tensor, *, threshold: float, min_pixels: int) -> Tensor:
    """Ids ``[h, w]`` int32, from 1 on in order of the objects' first pixels, 0 for none; on the CPU.

    ``embeddings [E, h, w]`` of unit length; ``things [h, w]`` number of the thing class, 0 for none. An object lies
    within one class and is connected (4 neighbours). Two embeddings are similar if their cosine similarity exceeds
    ``threshold``.

    1. Core pixels are similar to their 4 neighbours of the class, and the pixels at equal distances on either side of
       them along an axis (``EDGE_DISTANCES``) are similar to each other. Their components are regions.
    2. Regions grow by neighbouring pixels that are similar to their mean; a pixel goes to the most similar region.
    3. Of the remaining pixels, components of similar neighbours are regions too.
    4. Regions with similar means merge, then those below ``TOUCHING * min_pixels`` merge into their most similar
       neighbour (`merge_regions`). What is still below ``min_pixels`` vanishes: it has no neighbour of its class.

    Nothing is random; ties go to the first in order.
    """
    embeddings = embeddings.float()
    core = _core(embeddings, things, threshold).cpu().numpy()
    inside = things > 0
    rows = embeddings.flatten(1).T[inside.flatten()].cpu().numpy()
    classes, is_thing = things.cpu().numpy(), inside.cpu().numpy()
    ids = np.zeros(classes.shape, np.int32)
    if not len(rows):
        return torch.from_numpy(ids)
    edges = _edges(classes, is_thing)

    region = _components(core, classes)[is_thing] - 1
    _grow_regions(region, rows, edges, threshold)
    _label_remaining_pixels(region, rows, edges, threshold)
    count = int(region.max()) + 1
    regions = Regions(
        sum_rows(rows, region, count).astype(np.float64),
        np.bincount(region, minlength=count),
        adjacent_pairs(region[edges[:, 0]], region[edges[:, 1]], count),
    )
    group, sizes = merge_regions(regions, threshold=threshold, min_pixels=TOUCHING * min_pixels)
    group = group[region]
    ids[is_thing] = _renumber(group, sizes[group] >= min_pixels)
    return torch.from_numpy(ids)


def instances_from_embeddings(
    embeddings: Tensor, probabilities: Tensor, *, thing_channels: Sequence[int], threshold: float, min_pixels: int
) -> TileInstances:
    """The objects of a tile, without the ``semantic`` map, which the caller has.

    ``embeddings [E, h, w]`` of unit length; ``probabilities [K, h, w]`` of the labels, of which ``thing_channels`` are
    things, in their order. A pixel belongs to a thing class if that is its most probable label; `cluster` finds the
    objects. A mask is the probability of its class, at least 128 / 255 on the object itself, less around it, and 0 at
    the pixels of other objects. The score is the mean probability times the mean similarity of the object's pixels to
    their mean embedding.
    """
    things = torch.zeros(probabilities.shape[1:], dtype=torch.int64, device=probabilities.device)
    most_probable = probabilities.argmax(0)
    for thing, channel in enumerate(thing_channels, 1):
        things[most_probable == channel] = thing
    ids = cluster(embeddings, things, threshold=threshold, min_pixels=min_pixels).numpy()
    thing_probabilities = probabilities[list(thing_channels)].float().cpu().numpy()
    is_object = ids > 0
    number, class_index = ids[is_object] - 1, things.cpu().numpy()[is_object] - 1
    count = int(ids.max(initial=0))
    sizes = np.maximum(np.bincount(number, minlength=count), 1)
    classes = np.zeros(count, np.int64)
    classes[number] = class_index
    rows = embeddings.float().flatten(1).cpu().numpy().T[is_object.ravel()]
    # the length of a mean of unit vectors is their mean similarity to it
    similarity = np.linalg.norm(sum_rows(rows, number, count), axis=1) / sizes
    probability = thing_probabilities[:, is_object][class_index, np.arange(len(class_index))]
    mean_probability = np.bincount(number, weights=probability, minlength=count) / sizes

    boxes, masks = [], []
    for index, (y_range, x_range) in enumerate(ndimage.find_objects(ids)):
        # the soft rim is kept, for the averaging of several views
        y0, x0 = max(y_range.start - 1, 0), max(x_range.start - 1, 0)
        y1, x1 = min(y_range.stop + 1, ids.shape[0]), min(x_range.stop + 1, ids.shape[1])
        ids_in_box = ids[y0:y1, x0:x1]
        mask = np.rint(thing_probabilities[classes[index], y0:y1, x0:x1] * 255)
        mask = np.where(
            ids_in_box == index + 1, np.maximum(mask, 128), np.where(ids_in_box == 0, np.minimum(mask, 127), 0)
        )
        boxes.append((y0, x0, y1, x1))
        masks.append(torch.from_numpy(mask.astype(np.uint8)))
    scores = torch.from_numpy(np.clip(similarity * mean_probability, 0, 1)).float()
    return TileInstances(scores, torch.from_numpy(classes), torch.tensor(boxes, dtype=torch.int64).view(-1, 4), masks)


def _core(embeddings: Tensor, things: Tensor, threshold: float) -> Tensor:
    """``[h, w]`` bool: thing pixels that are not near an edge of the embedding."""
    core = things > 0
    for axis in (0, 1):
        for distance in (1, *EDGE_DISTANCES):
            length = things.shape[axis] - distance
            if length <= 0:
                continue
            first, last = (embeddings.narrow(axis + 1, start, length) for start in (0, distance))
            thing = things.narrow(axis, 0, length)
            edge = ((first * last).sum(0) <= threshold) & (thing == things.narrow(axis, distance, length))
            for middle in {distance // 2, (distance + 1) // 2}:
                core.narrow(axis, middle, length).logical_and_(~edge | (things.narrow(axis, middle, length) != thing))
    return core


def _edges(things: NDArray[np.int64], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """``[M, 2]`` neighbours of one class; pixels are numbered among those ``inside``, row by row."""
    number = np.zeros(things.shape, np.int64)
    number[inside] = np.arange(np.count_nonzero(inside))
    edges = []
    for first, last in (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]):
        same = inside[first] & (things[first] == things[last])
        edges.append(np.stack([number[first][same], number[last][same]], 1))
    return np.concatenate(edges)


def _components(core: NDArray[np.bool_], things: NDArray[np.int64]) -> NDArray[np.int64]:
    """Components of ``core`` within each class, numbered from 1 on; 0 elsewhere."""
    components, total = np.zeros(things.shape, np.int64), 0
    for thing in np.unique(things[core]):
        part, count = ndimage.label(core & (things == thing))
        components[part > 0] = part[part > 0] + total
        total += count
    return components


def _grow_regions(
    region: NDArray[np.int64], rows: NDArray[np.float32], edges: NDArray[np.int64], threshold: float
) -> None:
    """Add pixels without a region (-1) to the adjacent region of the most similar mean, if any is; in place."""
    count = int(region.max()) + 1
    assigned = region >= 0
    mean = sum_rows(rows[assigned], region[assigned], count)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    pixel_index, neighbour = np.concatenate([edges, edges[:, ::-1]]).T
    while True:
        unassigned = region[pixel_index] < 0
        pixel_index, neighbour = pixel_index[unassigned], neighbour[unassigned]
        border = region[neighbour] >= 0
        if not border.any():
            return
        pixel, candidate = pixel_index[border], region[neighbour[border]]
        # a region's mean is fixed, so no candidate is tried twice
        pixel_index, neighbour = pixel_index[~border], neighbour[~border]
        similarity = np.einsum("pe,pe->p", rows[pixel], mean[candidate])
        similar = similarity > threshold
        pixel, candidate, similarity = pixel[similar], candidate[similar], similarity[similar]
        by_similarity = np.lexsort((-candidate, similarity))  # the last of several assignments holds
        region[pixel[by_similarity]] = candidate[by_similarity]


def _label_remaining_pixels(
    region: NDArray[np.int64], rows: NDArray[np.float32], edges: NDArray[np.int64], threshold: float
) -> None:
    """Make regions of the pixels without one (-1): components of similar neighbours; in place."""
    unassigned = region < 0
    edges = edges[unassigned[edges].all(1)]
    edges = edges[np.einsum("pe,pe->p", rows[edges[:, 0]], rows[edges[:, 1]]) > threshold]
    number = np.cumsum(unassigned) - 1
    count = int(np.count_nonzero(unassigned))
    graph = sparse.csr_matrix((np.ones(len(edges), bool), tuple(number[edges].T)), shape=(count, count))
    if count:
        region[unassigned] = region.max() + 1 + csgraph.connected_components(graph, directed=False)[1]


def _renumber(group: NDArray[np.integer[Any]], kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Consecutive numbers from 1 on, by first appearance, of the groups that are ``kept``; 0 for the others."""
    ids = np.zeros(len(group), np.int32)
    _, first, inverse = np.unique(group[kept], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    ids[kept] = rank[inverse]
    return ids
