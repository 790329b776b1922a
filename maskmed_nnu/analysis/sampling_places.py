"""Where MaskMed's FSAD-Transformer looks, from one place in the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmed_nnu.analysis.hooks import watch
from maskmed_nnu.analysis.patches import Patch
from maskmed_nnu.networks.layers.maskmed.deformable_grid import positions
from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.networks.maskmed import MaskMed


class SamplingPlaces(NamedTuple):
    """``R`` levels ask, ``L`` levels are sampled, by ``heads`` with ``P`` points each.

    Coordinates are voxels of the image within the patch, in the order of its axes; 0 is the middle of the first voxel.
    """

    asking_levels: tuple[int, ...]
    """``R`` of the encoder's, full resolution being 0"""
    asked_at: NDArray[np.float64]
    """``[R, dim]``: the middle of the level's cell that holds the place"""
    positions: NDArray[np.float64]
    """``[R, heads, L, P, dim]``; they may lie outside the image"""
    weights: NDArray[np.float32]
    """``[R, heads, L, P]``, over the last two axes sums of one"""

    def distances(self, spacing: Sequence[float]) -> NDArray[np.float64]:
        """``[R, heads, L, P]``: distance of each sample from its query position, in the unit of ``spacing``."""
        steps = self.positions - self.asked_at[:, None, None, None]
        distance: NDArray[np.float64] = np.linalg.norm(steps * np.asarray(spacing), axis=-1)
        return distance


def sampling_places(network: MaskMed, patch: Patch, place: Sequence[float]) -> SamplingPlaces:
    """What the last layer samples for the cells around ``place``, a voxel of the image within ``patch``."""
    fsad = network.fsad
    assert isinstance(fsad, FSADTransformer)
    attention: Any = fsad.layers[-1].attention
    kept: list[Any] = []
    watch(network, {attention: lambda inputs, _output: kept.extend(inputs)}, patch.data)
    query, reference, values = kept
    size = np.array(patch.data.shape[1:])
    start = np.array([part.start or 0 for part in patch.inside])
    share = (np.asarray(place) + start + 0.5) / size
    shapes = [tuple(value.shape[1:-1]) for value in values]
    tokens, first = [], 0
    for level in fsad.query_levels:
        shape = np.array(shapes[level])
        cell = np.clip((share * shape).astype(int), 0, shape - 1)
        tokens.append(first + int(np.ravel_multi_index(tuple(cell), shapes[level])))
        first += int(shape.prod())
    with torch.inference_mode():
        offsets, weights = attention.sampling(query[:, tokens])
        asked = reference[tokens]
        # of each level, as shares of its edges, which are those of the patch
        shares = [
            (positions(asked, offsets[:, :, :, level], shape)[0] + 0.5) / asked.new_tensor(shape[::-1])
            for level, shape in enumerate(shapes)
        ]

    def voxels(positions: Tensor) -> NDArray[np.float64]:
        in_order = positions.flip(-1).double().cpu().numpy()  # from (x, y, z)
        placed: NDArray[np.float64] = in_order * size - 0.5 - start
        return placed

    return SamplingPlaces(
        tuple(fsad.query_levels), voxels(asked), voxels(torch.stack(shares, 2)), weights[0].float().cpu().numpy()
    )
