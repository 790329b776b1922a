"""Outlines of masks along the corners of their pixels."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ring: TypeAlias = NDArray[np.int64]
"""int ``[N, 2]``: x, y of the corners, not closed: the last is not the first. Outer rings have a positive area in the
shoelace formula (clockwise on the screen), holes a negative one."""

_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""x, y of a step to the right, down, to the left, up"""


def polygons(mask: NDArray[np.bool_], x0: int = 0, y0: int = 0) -> list[list[Ring]]:
    """A polygon for each piece of ``mask [H, W]``: its outer ring, then its holes.

    A piece hangs together by edges. Pieces that meet at a corner only are polygons of their own, and no ring meets
    itself, so that the polygons are valid as GeoJSON and JTS want them. ``x0``, ``y0`` are added to the corners.

    >>> [ring.tolist() for ring in polygons(np.array([[True, True]]))[0]]
    [[[0, 0], [2, 0], [2, 1], [0, 1]]]
    """
    pieces, number = ndimage.label(np.pad(mask, 1))
    found: list[list[Ring]] = [[] for _ in range(number)]
    for piece, ring in _rings(pieces):
        outer = _is_outer(ring)
        found[piece - 1].insert(0 if outer else len(found[piece - 1]), ring + np.array((x0, y0)))
    return found


def _rings(pieces: NDArray[Any]) -> list[tuple[int, Ring]]:
    """The rings around ``pieces [H + 2, W + 2]``, numbered from 1 on, each with the number of its piece.

    All edges between a piece and what is none are walked with the piece on the right hand. Where two pixels of a piece
    meet at a corner, the walk turns left, across the corner, which leaves no ring that meets itself there; where the
    pixels are of two pieces, it turns right and stays with its own.
    """
    inside = pieces > 0
    parts = []
    # the border above a pixel, to its right, below it, to its left; and the pixel's corner where the walk starts
    for direction, (other, corner) in enumerate(zip([(-1, 0), (0, 1), (1, 0), (0, -1)], [0, 1, 3, 2], strict=True)):
        rows, columns = np.nonzero(inside & ~np.roll(inside, (-other[0], -other[1]), (0, 1)))
        x, y = columns - 1 + corner % 2, rows - 1 + corner // 2
        parts.append(np.stack([x, y, np.full_like(x, direction), pieces[rows, columns]]))
    x, y, direction, piece = np.concatenate(parts, axis=1)
    if not len(x):
        return []
    width = pieces.shape[1]
    key = (y * width + x) * 4 + direction
    order = np.argsort(key)
    x, y, direction, piece, key = (values[order] for values in (x, y, direction, piece, key))
    step = _STEPS[direction]
    end = (y + step[:, 1]) * width + x + step[:, 0]
    following = np.full(len(key), -1)
    for turn in (1, 0, -1):  # right, straight on, left: the last one that fits stays
        wanted = end * 4 + (direction + turn) % 4
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        fits = (key[place] == wanted) & (piece[place] == piece)
        following[fits] = place[fits]
    turns = np.empty(len(key), bool)
    turns[following] = direction[following] != direction  # only corners are kept
    corners, rings = np.stack([x, y], axis=1), []
    following_of, free = following.tolist(), [True] * len(following)
    for first in range(len(free)):
        walked, edge = [], first
        while free[edge]:
            free[edge] = False
            walked.append(edge)
            edge = following_of[edge]
        if walked:
            ring = np.array(walked)
            rings.append((int(piece[first]), corners[ring[turns[ring]]]))
    return rings


def _is_outer(ring: Ring) -> bool:
    x, y = ring.T
    return bool((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0)
