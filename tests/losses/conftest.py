"""Small random outputs and targets for the set loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from maskmed_nnu.networks.output import QueryOutput


@pytest.fixture
def make_output() -> Callable[..., QueryOutput]:
    """``make_output(layers=2, batch=2, queries=5, classes=3, channels=4, spatial=(5, 6, 7), dtype, seed=0)``.

    All tensors are leaves that want a gradient.
    """

    def make(
        *,
        layers: int = 2,
        batch: int = 2,
        queries: int = 5,
        classes: int = 3,
        channels: int = 4,
        spatial: tuple[int, ...] = (5, 6, 7),
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> QueryOutput:
        random = torch.Generator().manual_seed(seed)

        def leaf(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype).requires_grad_()

        return QueryOutput(
            leaf(layers, batch, queries, classes + 1),
            leaf(layers, batch, queries, channels + 1),
            leaf(batch, channels, *spatial),
        )

    return make


@pytest.fixture
def make_labels() -> Callable[..., torch.Tensor]:
    """``make_labels(batch=2, classes=3, spatial=(5, 6, 7), seed=0)``: random label map ``[B, 1, *spatial]``, float."""

    def make(*, batch: int = 2, classes: int = 3, spatial: tuple[int, ...] = (5, 6, 7), seed: int = 0) -> torch.Tensor:
        random = torch.Generator().manual_seed(seed)
        return torch.randint(classes, (batch, 1, *spatial), generator=random).float()

    return make
