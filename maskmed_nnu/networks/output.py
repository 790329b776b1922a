"""What a query network answers in training mode."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class QueryOutput(NamedTuple):
    """Predictions of all supervised layers, before any full-resolution mask is built.

    ``L`` supervised layers (the initial queries first, the last layer last), ``B`` samples, ``Q`` queries, ``K``
    classes, ``E`` numbers in a mask embedding, ``C`` channels of the mask features. A mask head turns ``E`` and ``C``
    into mask logits where they are wanted; for the dot product ``E = C + 1``, the last number being a bias.
    """

    class_logits: Tensor
    """``[L, B, Q, K + 1]``; the last class is "no object"."""
    mask_embeddings: Tensor
    """``[L, B, Q, E]``"""
    mask_features: Tensor
    """``[B, C, *spatial]`` at full resolution, shared by all layers and queries."""
    dense_logits: tuple[Tensor, ...] = ()
    """Auxiliary pixel-wise head, ``[B, K, *spatial / stride]`` per decoder scale, full resolution first."""
    reference_points: Tensor | None = None
    """``[B, Q, dim]`` in ``(x, y, z)`` order within ``[0, 1]``, for queries that have a place."""
