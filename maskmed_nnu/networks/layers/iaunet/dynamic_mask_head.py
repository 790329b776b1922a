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

from maskmed_nnu.dimensions import vector_like


class DynamicMaskHead:
    """``mask_channels`` features and a vote (x, y, z) per position, ``hidden`` numbers in the two inner layers.

    Coordinates and votes are measured in units of ``scale`` cells of the mask grid, one for each of x, y and z. A layer
    reads the position and its vote, both relative to the query, and the vote's squared distance.
    """

    def __init__(self, *, mask_channels: int, hidden: int, scale: Sequence[float]) -> None:
        self.mask_channels, self.hidden, self.scale = mask_channels, hidden, tuple(scale)
        inputs = mask_channels + 2 * len(self.scale) + 1
        self.sizes = [inputs * hidden, hidden, hidden * hidden, hidden, hidden, 1]

    @property
    def embedding_size(self) -> int:
        return sum(self.sizes)

    def __call__(self, embeddings: Tensor, features: Tensor, relative: Tensor) -> Tensor:
        """Mask logits ``[L, N, P]``.

        ``embeddings [L, N, E]`` of ``N`` queries after ``L`` layers, ``features [N, P, mask_channels + dim]`` at
        ``P`` positions each, the votes last, ``relative [N, P, dim]`` their coordinates relative to the query.
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


def window_cells(
    reference: Tensor, *, window: Sequence[int], shape: Sequence[int], scale: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The cells of windows around reference points.

    ``reference [N, dim]`` (x, y, z) in cells of a grid of ``shape`` (z, y, x), as ``window`` is; ``scale`` is that of
    the head. Returns flat cell numbers ``[N, prod(window)]`` and the cells' coordinates relative to the reference point
    in units of ``scale``, ``[N, prod(window), dim]``. A cell off the grid is replaced by the nearest at the border.
    """
    corner, dim = window_corner(reference, window), len(window)
    flat: Tensor | int = 0
    relative = []
    for axis, (length, edge) in enumerate(zip(window, shape, strict=True)):
        place = slice(dim - 1 - axis, dim - axis)
        cells = (corner[:, place] + torch.arange(length, device=reference.device)).clamp(0, edge - 1)  # [N, length]
        offset = (cells + 0.5 - reference[:, place]) / scale[dim - 1 - axis]
        along = (-1, *(length if other == axis else 1 for other in range(dim)))
        flat = flat * edge + cells.view(along)
        relative.append(offset.view(along).expand(-1, *window))
    assert isinstance(flat, Tensor)
    return flat.flatten(1), torch.stack(relative[::-1], -1).flatten(1, dim)


def window_corner(reference: Tensor, window: Sequence[int]) -> Tensor:
    """First cell (x, y, z) of the window around each reference point, ``[N, dim]`` int64; it may lie off the grid."""
    return (reference - vector_like(window[::-1], reference) / 2 + 0.5).floor().long()
