"""Drawn objects that do not touch, as label maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def label_map(objects: int, shape: Sequence[int], random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """``[2, *shape]``, semantic map and ids of discs or balls; and their centres ``[N, dim]`` (x, y, z)."""
    rows = math.ceil(objects ** (1 / len(shape)) - 1e-9)
    ids, step = np.zeros(shape, np.int16), np.array(shape) / rows
    place = np.moveaxis(np.indices(shape), 0, -1) + 0.5
    centres = []
    for index in random.permutation(rows ** len(shape))[:objects]:
        cell = np.array(np.unravel_index(index, (rows,) * len(shape)))
        centre = (cell + 0.5 + random.uniform(-0.1, 0.1, len(shape))) * step
        around = tuple(slice(max(int(at - s), 0), int(at + s) + 1) for at, s in zip(centre, step, strict=True))
        near = ((place[around] - centre) ** 2).sum(-1) < min(0.35 * step.min(), 12) ** 2
        centres.append(centre[::-1])
        ids[around][near] = len(centres)
    return torch.from_numpy(np.stack([(ids > 0).astype(np.int16), ids])), np.stack(centres)
