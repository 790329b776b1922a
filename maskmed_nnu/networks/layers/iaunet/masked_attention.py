"""Which positions a query of IAUNet may attend to: those inside the mask that it has so far.

"Masked-attention Mask Transformer for Universal Image Segmentation" (arXiv 2112.01527). How this version differs: masks
of image queries count within their windows only, because they are not trained outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmed_nnu.dimensions import ADAPTIVE_AVG_POOL, vector_like
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.layers.iaunet.dynamic_mask_head import DynamicMaskHead
from maskmed_nnu.networks.layers.position import voxel_centres


@torch.no_grad()
def allowed_positions(
    head: DynamicMaskHead | DotProductMaskHead,
    window: Sequence[int],
    features: Tensor,
    reference: Tensor | None,
    embeddings: Tensor,
    scale: Tensor,
) -> Tensor:
    """Positions of ``scale [B, D, *shape]`` inside each query's mask; all where it is empty. ``[B, Q, N]`` bool.

    ``features [B, C, *grid]`` and ``embeddings [B, Q, E]`` are those of the masks; image queries have the ``window`` in
    cells of the grid and the points ``reference [B, Q, dim]``.
    """
    shape = tuple(scale.shape[2:])
    grid_shape, features = features.shape[2:], ADAPTIVE_AVG_POOL[len(shape)](features, shape)
    if isinstance(head, DynamicMaskHead):
        assert reference is not None
        grid = voxel_centres(shape, features.device)
        size, units = vector_like(grid_shape[::-1], grid), vector_like(head.scale, grid)
        relative = (grid - reference[:, :, None]) * size / units  # [B, Q, N, dim]
        rows = features.flatten(2).mT[:, None].expand(-1, embeddings.shape[1], -1, -1)
        logits = head(embeddings.flatten(0, 1)[None], rows.flatten(0, 1), relative.flatten(0, 1))
        in_window = (relative.abs() <= vector_like(window[::-1], grid) / 2 / units).all(-1)
        inside = (torch.unflatten(logits[0], 0, embeddings.shape[:2]) >= 0) & in_window
    else:
        inside = head.dense(embeddings[None], features)[0] >= 0
    return inside | ~inside.any(-1, keepdim=True)
