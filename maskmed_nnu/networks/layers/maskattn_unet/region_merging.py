"""Merge neighbouring regions of a map: first similar ones, then small ones into their neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

Float = TypeVar("Float", np.float32, np.float64)


class Regions(NamedTuple):
    """``R`` regions and which of them are adjacent."""

    sums: NDArray[np.float64]
    """``[R, E]`` float64, of the embeddings of a region's pixels"""
    sizes: NDArray[np.int64]
    """``[R]`` int64, in pixels"""
    pairs: NDArray[np.int64]
    """``[P, 2]`` int64 neighbours, each pair once, the smaller number first, sorted"""


def merge_regions(
    regions: Regions, *, threshold: float, min_pixels: int
) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
    """The group of each region ``[R]`` and the groups' sizes.

    First, neighbours whose mean embeddings have a cosine similarity above ``threshold`` merge, in rounds: a pair merges
    if each is the other's most similar neighbour. Then regions of fewer than ``min_pixels`` merge into their most
    similar neighbour, however dissimilar, until the remaining ones have none. Ties go to the smaller numbers, so the
    result is unique.
    """
    group: NDArray[np.integer[Any]] = np.arange(len(regions.sizes))
    for only_small in (False, True):
        while len(regions.pairs):
            similarity, best = _most_similar(regions)
            rank = np.arange(len(regions.pairs))
            is_best = best[regions.pairs] == rank[:, None]
            if only_small:
                # large regions choose no neighbour, so two of them never merge directly; choices form no cycles
                chosen = (is_best & (regions.sizes[regions.pairs] < min_pixels)).any(1)
            else:
                chosen = is_best.all(1) & (similarity > threshold)
            if not chosen.any():
                break
            regions, new_number = _contract(regions, regions.pairs[chosen])
            group = new_number[group]
    return group, regions.sizes


def adjacent_pairs(first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]], count: int) -> NDArray[np.int64]:
    """``[P, 2]`` as in `Regions`, from the numbers of the regions on either side of each border ``[M]``."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    key = np.unique((low.astype(np.int64) * count + high)[low != high])
    return np.stack(np.divmod(key, max(count, 1)), 1)


def sum_rows(rows: NDArray[Float], number: NDArray[np.integer[Any]], count: int) -> NDArray[Float]:
    """``[count, E]`` sums of the ``rows [N, E]`` with the same ``number [N]``."""
    one = np.ones(len(number), rows.dtype)
    members = sparse.csr_matrix((one, (number, np.arange(len(number)))), shape=(count, len(number)))
    sums: NDArray[Float] = members @ rows
    return sums


def _most_similar(regions: Regions) -> tuple[NDArray[np.float64], NDArray[np.integer[Any]]]:
    """Cosine similarity of each pair ``[P]`` and, per region, the pair with its most similar neighbour."""
    unit = regions.sums / np.maximum(np.linalg.norm(regions.sums, axis=1, keepdims=True), 1e-12)
    similarity = np.einsum("pe,pe->p", unit[regions.pairs[:, 0]], unit[regions.pairs[:, 1]])
    order = np.argsort(-similarity, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    best = np.full(len(regions.sizes), len(order))
    for end in regions.pairs.T:
        np.minimum.at(best, end, rank)
    return similarity, np.append(order, -1)[best]


def _contract(regions: Regions, chosen: NDArray[np.int64]) -> tuple[Regions, NDArray[np.integer[Any]]]:
    """The regions after merging the ``chosen`` pairs, and the new number of each old one."""
    count = len(regions.sizes)
    graph = sparse.csr_matrix((np.ones(len(chosen), bool), tuple(chosen.T)), shape=(count, count))
    groups, new_number = csgraph.connected_components(graph, directed=False)
    sizes = np.zeros(groups, np.int64)
    np.add.at(sizes, new_number, regions.sizes)
    pairs = adjacent_pairs(new_number[regions.pairs[:, 0]], new_number[regions.pairs[:, 1]], groups)
    return Regions(sum_rows(regions.sums, new_number, groups), sizes, pairs), new_number
