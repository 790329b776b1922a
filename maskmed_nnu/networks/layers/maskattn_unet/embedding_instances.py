"""From embeddings of pixels to objects, for one tile.

How MaskAttn-UNet's embeddings become objects is not published. The plain way, components of neighbouring pixels that
are alike, joins two objects wherever the embedding turns from one to the other over a few pixels, as it does in most
networks. So pixels near such a turn are set aside, the components of the others are the objects' cores, and what was
set aside goes to the core that it is most like.
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

from maskmed_nnu.networks.layers.maskattn_unet.region_joining import Regions, join_regions, sum_rows, touching
from maskmed_nnu.networks.output import TileInstances

STRADDLES = (2, 4)
"""Distances in pixels over which the embedding must not turn at a core pixel, which is in the middle. A turn that takes
longer than the last is not seen; an object that is no wider, between two others, has no core (step 3 finds it)."""


@torch.no_grad()
def cluster(embeddings: Tensor, things: Tensor, *, threshold: float, min_pixels: int) -> Tensor:
    """Ids ``[h, w]`` int32, from 1 on in order of the objects' first pixels, 0 for none; on the CPU.

    ``embeddings [E, h, w]`` of unit length; ``things [h, w]`` number of the thing class, 0 for none. An object lies
    within one class and is connected (4 neighbours). Two embeddings are alike if their cosine similarity exceeds
    ``threshold``.

    1. Core pixels: like their 4 neighbours of the class, and those at equal distances on either side of them along an
       axis (``STRADDLES``) like each other. Their components are regions.
    2. Regions grow by neighbouring pixels that are like their mean; a pixel goes to the one that it is most like.
    3. Of the pixels left, components of neighbours that are alike are regions too.
    4. Regions whose means are alike join, then those below ``min_pixels`` join their most similar neighbour, or vanish
       where they have none of their class (`join_regions`).

    Nothing is random, and ties are broken by place.
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
    _grow(region, rows, edges, threshold)
    _label_remaining_pixels(region, rows, edges, threshold)
    count = int(region.max()) + 1
    regions = Regions(
        sum_rows(rows, region, count).astype(np.float64),
        np.bincount(region, minlength=count),
        touching(region[edges[:, 0]], region[edges[:, 1]], count),
    )
    group, sizes = join_regions(regions, threshold=threshold, min_pixels=min_pixels)
    group = group[region]
    ids[is_thing] = _in_order(group, sizes[group] >= min_pixels)
    return torch.from_numpy(ids)


def embedding_tile_instances(
    embeddings: Tensor, probabilities: Tensor, *, thing_channels: Sequence[int], threshold: float, min_pixels: int
) -> TileInstances:
    """The objects of a tile, without the ``semantic`` map, which the caller has.

    ``embeddings [E, h, w]`` of unit length; ``probabilities [K, h, w]`` of the labels, of which ``thing_channels`` are
    things, in their order. A pixel is a thing's where that is its most probable label; `cluster` finds the objects. A
    mask is the probability of its class, at least 128 / 255 on the object itself and less beside it; the pixels of
    other objects are no part of it. The score is the mean probability times the mean similarity of the object's pixels
    to their mean embedding.
    """
    things = torch.zeros(probabilities.shape[1:], dtype=torch.int64, device=probabilities.device)
    winner = probabilities.argmax(0)
    for thing, channel in enumerate(thing_channels, 1):
        things[winner == channel] = thing
    ids = cluster(embeddings, things, threshold=threshold, min_pixels=min_pixels).numpy()
    soft = probabilities[list(thing_channels)].float().cpu().numpy()
    found = ids > 0
    number, class_index = ids[found] - 1, things.cpu().numpy()[found] - 1
    count = int(ids.max(initial=0))
    sizes = np.maximum(np.bincount(number, minlength=count), 1)
    classes = np.zeros(count, np.int64)
    classes[number] = class_index
    rows = embeddings.float().flatten(1).cpu().numpy().T[found.ravel()]
    # of unit vectors, the mean's length is their mean similarity to it
    likeness = np.linalg.norm(sum_rows(rows, number, count), axis=1) / sizes
    probability = soft[:, found][class_index, np.arange(len(class_index))]
    certainty = np.bincount(number, weights=probability, minlength=count) / sizes

    boxes, masks = [], []
    for index, (rows_of, columns) in enumerate(ndimage.find_objects(ids)):
        # the soft rim is kept, for the averaging of several views
        y0, x0 = max(rows_of.start - 1, 0), max(columns.start - 1, 0)
        y1, x1 = min(rows_of.stop + 1, ids.shape[0]), min(columns.stop + 1, ids.shape[1])
        near = ids[y0:y1, x0:x1]
        mask = np.rint(soft[classes[index], y0:y1, x0:x1] * 255)
        mask = np.where(near == index + 1, np.maximum(mask, 128), np.where(near == 0, np.minimum(mask, 127), 0))
        boxes.append((y0, x0, y1, x1))
        masks.append(torch.from_numpy(mask.astype(np.uint8)))
    scores = torch.from_numpy(np.clip(likeness * certainty, 0, 1)).float()
    return TileInstances(scores, torch.from_numpy(classes), torch.tensor(boxes, dtype=torch.int64).view(-1, 4), masks)


def _core(embeddings: Tensor, things: Tensor, threshold: float) -> Tensor:
    """``[h, w]`` bool: thing pixels at which the embedding does not turn."""
    core = things > 0
    for axis in (0, 1):
        for distance in (1, *STRADDLES):
            length = things.shape[axis] - distance
            if length <= 0:
                continue
            first, last = (embeddings.narrow(axis + 1, start, length) for start in (0, distance))
            thing = things.narrow(axis, 0, length)
            turn = ((first * last).sum(0) <= threshold) & (thing == things.narrow(axis, distance, length))
            for place in {distance // 2, (distance + 1) // 2}:
                core.narrow(axis, place, length).logical_and_(~turn | (things.narrow(axis, place, length) != thing))
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


def _grow(region: NDArray[np.int64], rows: NDArray[np.float32], edges: NDArray[np.int64], threshold: float) -> None:
    """Give pixels without a region (-1) the adjacent one whose mean they are most like, if at all; in place."""
    count = int(region.max()) + 1
    has = region >= 0
    mean = sum_rows(rows[has], region[has], count)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    to, source = np.concatenate([edges, edges[:, ::-1]]).T
    while True:
        waiting = region[to] < 0
        to, source = to[waiting], source[waiting]
        border = region[source] >= 0
        if not border.any():
            return
        pixel, offer = to[border], region[source[border]]
        to, source = to[~border], source[~border]  # a region's mean stays, so no offer is made twice
        similarity = np.einsum("pe,pe->p", rows[pixel], mean[offer])
        alike = similarity > threshold
        pixel, offer, similarity = pixel[alike], offer[alike], similarity[alike]
        worst_first = np.lexsort((-offer, similarity))  # the last of several assignments holds
        region[pixel[worst_first]] = offer[worst_first]


def _label_remaining_pixels(
    region: NDArray[np.int64], rows: NDArray[np.float32], edges: NDArray[np.int64], threshold: float
) -> None:
    """Make regions of the pixels without one (-1): components of neighbours that are alike; in place."""
    left = region < 0
    edges = edges[left[edges].all(1)]
    edges = edges[np.einsum("pe,pe->p", rows[edges[:, 0]], rows[edges[:, 1]]) > threshold]
    number = np.cumsum(left) - 1
    count = int(np.count_nonzero(left))
    graph = sparse.csr_matrix((np.ones(len(edges), bool), tuple(number[edges].T)), shape=(count, count))
    if count:
        region[left] = region.max() + 1 + csgraph.connected_components(graph, directed=False)[1]


def _in_order(group: NDArray[np.integer[Any]], kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Consecutive numbers from 1 on, by first appearance, of the groups that are ``kept``; 0 for the others."""
    ids = np.zeros(len(group), np.int32)
    _, first, inverse = np.unique(group[kept], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    ids[kept] = rank[inverse]
    return ids
