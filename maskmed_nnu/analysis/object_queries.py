"""What the queries of IAUNet do in one patch: the heatmap that they are peaks of, votes for centres, masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from maskmed_nnu.analysis.hooks import watch
from maskmed_nnu.analysis.patches import Patch
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead


class ObjectQueries(NamedTuple):
    """``Q`` queries, the most likely first; coordinates (y, x) are pixels of the image within the patch.

    ``heat``, ``peaks`` and ``votes`` are None of a network whose queries are learned.
    """

    class_probabilities: NDArray[np.float32]
    """``[Q, K + 1]`` of the classes of things, "no object" the last"""
    boxes: NDArray[np.int64]
    """``[Q, 4]`` y0, x0, y1, x1, half open"""
    masks: list[NDArray[np.float32]]
    """``Q`` probabilities, each cropped to its box; empty ones are 0×0"""
    heat: NDArray[np.float32] | None
    """``[K, h, w]`` probability of a centre"""
    heat_stride: int
    """Pixels of a cell of ``heat``, whose first one lies at ``-offset``"""
    peaks: NDArray[np.float64] | None
    """``[Q, 2]``: where the query looks from, 0 being the middle of the first pixel"""
    votes: NDArray[np.float32] | None
    """``[2, h, w]``: from each cell of ``vote_stride`` to the centre that it votes for, in pixels (y, x)"""
    vote_stride: int
    offset: tuple[int, int]
    """Pixels of the patch before the image's first"""

    @property
    def scores(self) -> NDArray[np.float32]:
        """``[Q]``: the probability of the likeliest class."""
        best: NDArray[np.float32] = self.class_probabilities[:, :-1].max(1)
        return best

    @property
    def classes(self) -> NDArray[np.int64]:
        """``[Q]``: the index of the likeliest class."""
        best: NDArray[np.int64] = self.class_probabilities[:, :-1].argmax(1)
        return best


def object_queries(network: IAUNet, patch: Patch) -> ObjectQueries:
    """Queries of ``network``, which is in evaluation mode, for ``patch``."""
    output = watch(network, {}, patch.data)
    edges = patch.data.shape[1:]
    offset = np.array([part.start or 0 for part in patch.inside])
    shape = np.array([part.stop - (part.start or 0) for part in patch.inside])
    with torch.inference_mode():
        probabilities = output.class_logits[-1, 0].float().softmax(-1)
        order = probabilities[:, :-1].max(1).values.argsort(descending=True, stable=True)
        probabilities = probabilities[order]
        found, soft, nonempty = network.query_masks(output, 0, order, shape=edges)
    boxes = np.zeros((len(order), 4), np.int64)
    masks: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32) for _ in order]
    for index, box, mask in zip(nonempty.tolist(), found.numpy(), soft, strict=True):
        low = np.clip(box[:2] - offset, 0, shape)
        high = np.clip(box[2:] - offset, low, shape)
        boxes[index] = (*low, *high)
        (y0, x0), (y1, x1) = low + offset - box[:2], high + offset - box[:2]
        masks[index] = mask[y0:y1, x0:x1].numpy().astype(np.float32) / 255
    heat = peaks = votes = None
    heat_stride = vote_stride = max(network.mask_stride)
    if output.centre_logits is not None:
        heat = output.centre_logits[0].float().sigmoid().cpu().numpy()
        heat_stride = edges[0] // heat.shape[1]
    if output.reference_points is not None:
        share = output.reference_points[0, order].flip(-1).double().cpu().numpy()
        peaks = share * np.array(edges) - 0.5 - offset
    if isinstance(network.mask_head, DynamicMaskHead):
        scale = np.multiply(network.mask_head.scale[::-1], network.mask_stride)[:, None, None]
        channels = network.mask_head.mask_channels
        votes = output.mask_features[0, channels:].float().flip(0).cpu().numpy() * scale
    return ObjectQueries(
        probabilities.cpu().numpy(),
        boxes,
        masks,
        heat,
        heat_stride,
        peaks,
        votes,
        vote_stride,
        (int(offset[0]), int(offset[1])),
    )
