"""Autocast to bfloat16 on the CPU against single precision: losses stay in float32, gradients point the same way."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.cases import every_network

CASES = every_network(tiny=True)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_step_under_autocast_is_the_same_but_for_rounding(case):
    torch.manual_seed(0)
    network = case.network()
    loss_of, (image, target) = case.loss(network), case.batch()
    losses, gradients = [], []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = loss_of(network(image), target)
        loss.backward()
        assert loss.dtype == torch.float32
        losses.append(loss.detach())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    torch.testing.assert_close(losses[1], losses[0], rtol=0.1, atol=0)
    assert gradients[1].isfinite().all()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_prediction_under_autocast_is_the_same_but_for_rounding(case):
    torch.manual_seed(0)
    network, (image, _) = case.network().eval(), case.batch()
    with torch.no_grad():
        expected = case.predict(network, image)
        with torch.autocast("cpu", torch.bfloat16):
            found = case.predict(network, image)
    # maps come last; rounding may choose other peaks as queries, which come before them
    for ours, single in zip(found[-2:], expected[-2:], strict=True):
        assert ours.isfinite().all()
        assert (ours - single).norm() < 0.1 * single.norm()
