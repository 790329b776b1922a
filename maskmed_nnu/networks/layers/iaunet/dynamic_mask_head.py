"""A small network per query that predicts its mask in a window around the query's reference point.

"Conditional Convolutions for Instance Segmentation" (arXiv 2003.05664): the query's embedding holds the weights of
three pointwise layers on the mask features and the coordinates relative to the query. How this version differs: besides
its own coordinates, each position has those of the object centre that it votes for ("Instance Segmentation by
Jointly Optimizing Spatial Embeddings and Clustering Bandwidth", arXiv 1906.11109), so that touching objects are
separated from the first training steps on; and masks are computed in windows or at points only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

COORDINATES = 5
"""x and y of the position, x and y of its vote, and the vote's squared distance, all relative to the query."""


class DynamicMaskHead:
    """``mask_channels`` features and two votes per position, ``hidden`` numbers in the two inner layers.

    Coordinates and votes are measured in units of ``scale`` cells of the mask grid.
    """

    def __init__(self, *, mask_channels: int, hidden: int, scale: float) -> None:
        self.mask_channels, self.hidden, self.scale = mask_channels, hidden, scale
        inputs = mask_channels + COORDINATES
        self.sizes = [inputs * hidden, hidden, hidden * hidden, hidden, hidden, 1]

    @property
    def embedding_size(self) -> int:
        return sum(self.sizes)

    def __call__(self, embeddings: Tensor, features: Tensor, relative: Tensor) -> Tensor:
        """Mask logits ``[L, N, P]``.

        ``embeddings [L, N, E]`` of ``N`` queries after ``L`` layers, ``features [N, P, mask_channels + 2]`` at ``P``
        positions each, the votes last, ``relative [N, P, 2]`` their coordinates (x, y) relative to the query.
        """
        layers, queries, _ = embeddings.shape
        vote = relative + features[..., self.mask_channels :]
        x = torch.cat((features[..., : self.mask_channels], relative, vote, vote.square().sum(-1, keepdim=True)), -1)
        # [N, L, ...]: the layers of a query read the same positions
        w1, b1, w2, b2, w3, b3 = torch.split(embeddings.transpose(0, 1), self.sizes, -1)
        first = w1.reshape(queries, layers * self.hidden, -1)
        x = torch.baddbmm(b1.reshape(queries, 1, -1), x.to(first.dtype), first.mT).relu()
        x = torch.unflatten(x, -1, (layers, self.hidden)).transpose(1, 2).flatten(0, 1)  # [N L, P, hidden]
        w2 = w2.reshape(queries * layers, self.hidden, self.hidden)
        x = torch.baddbmm(b2.reshape(queries * layers, 1, -1), x, w2).relu()
        x = torch.baddbmm(b3.reshape(queries * layers, 1, 1), x, w3.reshape(queries * layers, self.hidden, 1))
        return x.view(queries, layers, -1).transpose(0, 1)


def window_cells(reference: Tensor, *, window: int, shape: Sequence[int], scale: float) -> tuple[Tensor, Tensor]:
    """The cells of square windows around reference points.

    ``reference [N, 2]`` (x, y) in cells of a grid of ``shape`` (rows, columns). Returns flat cell numbers
    ``[N, W * W]`` and the cells' coordinates relative to the reference point in units of ``scale``, ``[N, W * W, 2]``.
    A cell off the grid is replaced by the nearest one at the border.
    """
    corner = window_corner(reference, window)
    steps = torch.arange(window, device=reference.device)
    columns = (corner[:, :1] + steps).clamp(0, shape[1] - 1)  # [N, W]
    rows = (corner[:, 1:] + steps).clamp(0, shape[0] - 1)
    flat = rows[:, :, None] * shape[1] + columns[:, None]
    x = ((columns + 0.5 - reference[:, :1]) / scale)[:, None].expand(-1, window, -1)
    y = ((rows + 0.5 - reference[:, 1:]) / scale)[:, :, None].expand(-1, -1, window)
    return flat.flatten(1), torch.stack((x, y), -1).flatten(1, 2)


def window_corner(reference: Tensor, window: int) -> Tensor:
    """First cell (x, y) of the window around each reference point, ``[N, 2]`` int64; it may lie off the grid."""
    return (reference - window / 2 + 0.5).floor().long()
