"""Every network, its loss and its prediction on another device: nothing mixes devices, and the host seldom waits."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.cases import Case, every_network, to_device
from tests.cuda.pretended_device import pretended_device

WAITS = {
    # in training: which classes there are, the costs of the matching; nnU-Net's loss looks for a pixel that is known
    "MaskMed 2D": (0, 2, 0),
    "MaskMed 3D": (0, 2, 0),
    "IAUNet 2D": (0, 3, 0),
    "IAUNet 3D": (0, 3, 0),
    "MaskAttnUNet": (0, 0, 0),
    "MaskAttnUNet, objects": (0, 0, 0),
    "SimpleUNet 2D": (0, 0, 0),
    "SimpleUNet 3D": (0, 0, 0),
}
"""How often the host waits for the device: in the network, in loss and backward pass, in prediction."""


@pytest.mark.parametrize("points", [None, 64], ids=["everywhere", "points"])
@pytest.mark.parametrize("number", range(len(WAITS)), ids=WAITS)
def test_a_step_and_a_prediction_stay_on_the_device(number: int, points: int | None):
    case = every_network(tiny=True, points=points)[number]
    torch.manual_seed(0)
    network = case.network()
    expected = None if points else step_and_prediction(case, network, "cpu")
    with pretended_device() as pretended:
        network.to("meta")
        waits: list[int] = []
        loss, gradient, answers = step_and_prediction(case, network, "meta", lambda: waits.append(len(pretended.waits)))
        found = loss.cpu(), gradient.cpu(), [answer.cpu() for answer in answers]
    start, forward, backward, prediction = waits
    assert (forward - start, backward - forward, prediction - backward) == WAITS[case.name], pretended.waits
    if expected is not None:
        torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
        assert (found[1] - expected[1]).norm() < 1e-2 * expected[1].norm()
        torch.testing.assert_close(found[2], expected[2], rtol=1e-3, atol=1e-3)


def step_and_prediction(case: Case, network, device: str, passed=lambda: None) -> tuple:
    """Loss, gradient and what prediction starts from; ``passed`` is called before and after each part."""
    image, target = (to_device(one, device) for one in case.batch())
    loss_of = case.loss(network.train())
    network.zero_grad()
    passed()
    output = network(image)
    passed()
    loss = loss_of(output, target)
    loss.backward()
    passed()
    with torch.no_grad():
        answers = case.predict(network.eval(), image)
    passed()
    gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    return loss.detach(), gradient, answers


class TestTheDevice:
    """That it refuses what CUDA refuses, and notices each wait."""

    def test_tensors_of_both_devices_are_refused(self):
        with pretended_device():
            there = torch.ones(3, device="meta")
            with pytest.raises(RuntimeError, match="add.* got tensors of meta and of the host"):
                there + torch.ones(3)
            assert (there + torch.tensor(1.0)).device.type == "meta"  # a single number is taken from either

    @pytest.mark.parametrize(
        "wait",
        [
            lambda t: t.cpu(),
            lambda t: float(t[0]),
            lambda t: bool((t > 0).any()),
            lambda t: t.nonzero(),
            lambda t: t[t > 0],
            lambda t: t.unique(),
            lambda t: t.masked_select(t > 0),
            lambda t: t.new_tensor([1.0, 2.0]),
            lambda t: torch.tensor([1.0, 2.0], device=t.device),
            lambda t: t[[0, 1]],
            lambda t: torch.ones(3).to(t.device),
            lambda t: t.tolist(),
        ],
    )
    def test_a_wait_is_counted_once(self, wait):
        with pretended_device() as pretended:
            tensor = torch.arange(3.0, device="meta")
            wait(tensor)
        assert len(pretended.waits) == 1

    def test_other_work_is_no_wait(self):
        with pretended_device() as pretended:
            tensor = torch.arange(6.0, device="meta").view(2, 3).requires_grad_()
            torch.tensor([1.0, 2.0]).to("meta", non_blocking=True)
            rows = tensor[torch.zeros(2, dtype=torch.int64, device="meta")]
            (rows.where(rows > 1, 0) @ rows.mT).softmax(-1).sum().backward()
            tensor.detach().mul_(2)
            value = tensor.grad.sum(), tensor.detach().sum()
        assert not pretended.waits
        assert float(value[1].inner) == 30
