"""Neighbouring regions of a map become one: those that are alike, then those too small to stand alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


class Regions(NamedTuple):
    """``R`` regions and which of them touch."""

    sums: np.ndarray
    """``[R, E]`` float64, of the embeddings of a region's pixels"""
    sizes: np.ndarray
    """``[R]`` int64, in pixels"""
    pairs: np.ndarray
    """``[P, 2]`` int64 neighbours, each pair once, the smaller number first, sorted"""


def join_regions(regions: Regions, *, threshold: float, min_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The group of each region ``[R]`` and the groups' sizes.

    First, neighbours whose mean embeddings have a cosine similarity above ``threshold`` join, in rounds: a pair does if
    each is the other's most similar neighbour. Then regions of fewer than ``min_pixels`` join their most similar
    neighbour, however unlike, until those left have none. Ties go to the smaller numbers, so the result is unique.
    """
    group = np.arange(len(regions.sizes))
    for only_small in (False, True):
        while len(regions.pairs):
            similarity, best = _most_similar(regions)
            rank = np.arange(len(regions.pairs))
            is_best = best[regions.pairs] == rank[:, None]
            if only_small:
                # two large regions never meet: a large one chooses nobody, and choices cannot run in circles
                chosen = (is_best & (regions.sizes[regions.pairs] < min_pixels)).any(1)
            else:
                chosen = is_best.all(1) & (similarity > threshold)
            if not chosen.any():
                break
            regions, joined = _contract(regions, regions.pairs[chosen])
            group = joined[group]
    return group, regions.sizes


def touching(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """``[P, 2]`` as in `Regions`, from the numbers of the regions on either side of each border ``[M]``."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    key = np.unique((low.astype(np.int64) * count + high)[low != high])
    return np.stack(np.divmod(key, max(count, 1)), 1)


def sum_rows(rows: np.ndarray, number: np.ndarray, count: int) -> np.ndarray:
    """``[count, E]`` sums of the ``rows [N, E]`` with the same ``number [N]``."""
    one = np.ones(len(number), rows.dtype)
    return sparse.csr_matrix((one, (number, np.arange(len(number)))), shape=(count, len(number))) @ rows


def _most_similar(regions: Regions) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarity of each pair ``[P]`` and, per region, the pair with its most similar neighbour."""
    unit = regions.sums / np.maximum(np.linalg.norm(regions.sums, axis=1, keepdims=True), 1e-12)
    similarity = np.einsum("pe,pe->p", unit[regions.pairs[:, 0]], unit[regions.pairs[:, 1]])
    order = np.argsort(-similarity, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    best = np.full(len(regions.sizes), len(order))
    for end in regions.pairs.T:
        np.minimum.at(best, end, place)
    return similarity, np.append(order, -1)[best]


def _contract(regions: Regions, chosen: np.ndarray) -> tuple[Regions, np.ndarray]:
    """The regions with the ``chosen`` pairs joined, and the new number of each old one."""
    count = len(regions.sizes)
    graph = sparse.csr_matrix((np.ones(len(chosen), bool), tuple(chosen.T)), shape=(count, count))
    groups, joined = csgraph.connected_components(graph, directed=False)
    sizes = np.zeros(groups, np.int64)
    np.add.at(sizes, joined, regions.sizes)
    pairs = touching(*joined[regions.pairs].T, groups)
    return Regions(sum_rows(regions.sums, joined, groups), sizes, pairs), joined
