"""Compiled networks in training: one graph, and the loss and gradients of the network as it is.

That they predict the same is in the networks' contract. Losses, which match on the host, are not compiled.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.cases import TINY_2D, TINY_3D, iaunet, maskattn_unet, maskmed

EVERYWHERE = {
    "MaskMed": maskmed(TINY_3D, narrow=True, num_points=None),
    "IAUNet": iaunet(TINY_2D, narrow=True, num_points=2**40),
    "MaskAttnUNet": maskattn_unet(TINY_2D, narrow=True, objects=True, pixels=32 * 32),
}


@pytest.fixture(autouse=True)
def forget_what_was_compiled():
    torch._dynamo.reset()


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_step_of_the_compiled_network_is_the_same(name):
    torch.manual_seed(0)
    case = EVERYWHERE[name]
    network, (image, target) = case.network().train(), case.batch()
    loss_of, steps = case.loss(network), []
    for call in (network, torch.compile(network, backend="eager", fullgraph=True)):
        network.zero_grad()
        loss = loss_of(call(image), target)
        loss.backward()
        steps.append((loss.detach(), torch.cat([parameter.grad.flatten() for parameter in network.parameters()])))
    torch.testing.assert_close(steps[1][0], steps[0][0], rtol=1e-5, atol=1e-5)
    assert (steps[1][1] - steps[0][1]).norm() < 1e-3 * steps[0][1].norm()
