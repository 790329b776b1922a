"""What networks with queries or an embedding of pixels return."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class QueryOutput(NamedTuple):
    """Predictions of all supervised layers, before any full-resolution mask is built.

    ``L`` supervised layers (the initial queries first, the last layer last), ``B`` samples, ``Q`` queries, ``K``
    classes, ``E`` numbers in a mask embedding, ``C`` channels of the mask features. A mask head turns ``E`` and ``C``
    into mask logits where they are needed; for the dot product ``E = C + 1``, the last number being a bias.
    """

    class_logits: Tensor
    """``[L, B, Q, K + 1]``; the last class is "no object"."""
    mask_embeddings: Tensor
    """``[L, B, Q, E]``"""
    mask_features: Tensor
    """``[B, C, *spatial]`` shared by all layers and queries, at full resolution or coarser."""
    dense_logits: tuple[Tensor, ...] = ()
    """Auxiliary pixel-wise head, ``[B, K, *spatial / stride]`` per decoder scale, the finest first."""
    reference_points: Tensor | None = None
    """``[B, Q, dim]`` in ``(x, y, z)`` order within ``[0, 1]``, for queries that have a reference point."""
    quality_logits: Tensor | None = None
    """``[L, B, Q]``: how well the query's mask fits (logit of its IoU with the truth)."""
    centre_logits: Tensor | None = None
    """``[B, K, *spatial / stride]`` heatmap of the objects' centres, from which image queries are taken."""


class EmbeddingOutput(NamedTuple):
    """What a network with an embedding of pixels returns in training mode."""

    logits: Tensor | list[Tensor]
    """``[B, K, h, w]``; under deep supervision one map for each scale, the finest first."""
    embeddings: Tensor
    """``[B, E, h, w]`` float32 of unit length along ``E``"""


class TileInstances(NamedTuple):
    """The objects of one tile, each mask cropped to its box; ``N`` of them; an object may occur twice."""

    scores: Tensor
    """``[N]`` within ``[0, 1]``"""
    classes: Tensor
    """``[N]`` int64, index into the thing classes"""
    boxes: Tensor
    """``[N, 2 * dim]`` int64: all starts, then all stops (``y0, x0, y1, x1``), half open, in the tile"""
    masks: list[Tensor]
    """``N`` times uint8 of the box's shape, probability * 255; a pixel belongs to the object from 128 on"""
    semantic: Tensor | None = None
    """``[1 + K, *spatial]`` probabilities of the dense head, if there are stuff classes"""
