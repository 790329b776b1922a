"""What the queries of IAUNet do in one patch: the heatmap that they are peaks of, votes for centres, masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from maskmed_nnu.analysis.hooks import watch
from maskmed_nnu.analysis.patches import Patch
from maskmed_nnu.instances.boxes import box_slices
from maskmed_nnu.networks.iaunet import IAUNet
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead


class ObjectQueries(NamedTuple):
    """``Q`` queries, the most likely first; coordinates ((z,) y, x) are pixels of the image within the patch.

    ``heat``, ``peaks`` and ``votes`` are None of a network whose queries are learned.
    """

    class_probabilities: NDArray[np.float32]
    """``[Q, K + 1]`` of the classes of things, "no object" the last"""
    boxes: NDArray[np.int64]
    """``[Q, 2·dim]`` all starts, then all stops, half open"""
    masks: list[NDArray[np.float32]]
    """``Q`` probabilities, each cropped to its box; empty ones have no pixel"""
    heat: NDArray[np.float32] | None
    """``[K, *cells]`` probability of a centre"""
    heat_stride: tuple[int, ...]
    """Pixels of a cell of ``heat``, whose first one lies at ``-offset``"""
    peaks: NDArray[np.float64] | None
    """``[Q, dim]``: where the query looks from, 0 being the middle of the first pixel"""
    votes: NDArray[np.float32] | None
    """``[dim, *cells]``: from each cell of ``vote_stride`` to the centre that it votes for, in pixels ((z,) y, x)"""
    vote_stride: tuple[int, ...]
    offset: tuple[int, ...]
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

    def of_slice(self, index: int) -> ObjectQueries:
        """What one slice of a volume shows of them: masks cut there, votes within it, peaks in its cells (else NaN)."""
        heat, votes, peaks = self.heat, self.votes, self.peaks
        if heat is not None:
            cell = (index + self.offset[0]) // self.heat_stride[0]
            heat = heat[:, cell]
            if peaks is not None:
                cells = (peaks[:, 0] + 0.5 + self.offset[0]) // self.heat_stride[0]
                peaks = np.where((cells == cell)[:, None], peaks, np.nan)
        if votes is not None:
            votes = votes[1:, (index + self.offset[0]) // self.vote_stride[0]]
        boxes = np.zeros((len(self.boxes), 4), np.int64)
        masks: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32) for _ in self.masks]
        for i in np.flatnonzero((self.boxes[:, 0] <= index) & (index < self.boxes[:, 3])):
            boxes[i], masks[i] = self.boxes[i, [1, 2, 4, 5]], self.masks[i][index - self.boxes[i, 0]]
        return self._replace(
            boxes=boxes,
            masks=masks,
            heat=heat,
            heat_stride=self.heat_stride[1:],
            peaks=None if peaks is None else peaks[:, 1:],
            votes=votes,
            vote_stride=self.vote_stride[1:],
            offset=self.offset[1:],
        )


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
    dim = len(edges)
    boxes = np.zeros((len(order), 2 * dim), np.int64)
    masks: list[NDArray[np.float32]] = [np.zeros((0,) * dim, np.float32) for _ in order]
    for index, box, mask in zip(nonempty.tolist(), found.numpy(), soft, strict=True):
        low = np.clip(box[:dim] - offset, 0, shape)
        high = np.clip(box[dim:] - offset, low, shape)
        boxes[index] = (*low, *high)
        inside = box_slices((boxes[index] + np.tile(offset, 2)).tolist(), box[:dim].tolist())
        masks[index] = mask[inside].numpy().astype(np.float32) / 255
    heat = peaks = votes = None
    heat_stride = vote_stride = network.mask_stride
    if output.centre_logits is not None:
        heat = output.centre_logits[0].float().sigmoid().cpu().numpy()
        heat_stride = tuple(edge // cells for edge, cells in zip(edges, heat.shape[1:], strict=True))
    if output.reference_points is not None:
        share = output.reference_points[0, order].flip(-1).double().cpu().numpy()
        peaks = share * np.array(edges) - 0.5 - offset
    if isinstance(network.mask_head, DynamicMaskHead):
        scale = np.multiply(network.mask_head.scale[::-1], network.mask_stride).reshape(-1, *[1] * dim)
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
        tuple(offset.tolist()),
    )
