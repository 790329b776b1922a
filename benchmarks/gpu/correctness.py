"""Whether every network computes on the GPU what it computes on the CPU, in half precision, and compiled."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.cases import Case, every_network, to_device
from benchmarks.gpu.run import Finding, Run
from benchmarks.gpu.speed import Step, repeated

LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-2
"""Relative. Single precision on two processors differs by 1e-6 in the loss; where a query's mask or peak is just at
its threshold, the gradient may differ by more than rounding."""
LEARNING_STEPS = 50


def in_single_precision(run: Run) -> None:
    """Loss, gradient and prediction of every network, in float32."""
    run.check("card", lambda: card(run.device))
    _compute_exactly()
    for case in every_network(tiny=run.smoke):
        run.check(f"{case.name} as on the CPU", lambda case=case: as_on_the_cpu(case, run.device))


def in_half_precision(run: Run) -> None:
    """That each network overfits one batch in float16 with a loss scale, and in bfloat16."""
    for half in (torch.float16, torch.bfloat16)[run.smoke :]:
        for case in every_network(tiny=run.smoke):
            name = f"{case.name} learns in {str(half).removeprefix('torch.')}"
            run.check(name, lambda case=case, half=half: learns(case, run, half))


def compiled(run: Run) -> None:
    """Loss and gradient of the compiled networks, in float32."""
    _compute_exactly()
    for case in every_network(tiny=run.smoke)[: 1 if run.smoke else None]:  # tests compile the others
        run.check(f"{case.name} compiled", lambda case=case: compiled_as_before(case, run), needs=40)


def card(device: torch.device) -> Finding:
    """Raises where there is none."""
    versions = {"torch": torch.__version__, "CUDA": str(torch.version.cuda)}
    if device.type == "cpu":
        return {"device": "CPU", **versions}
    torch.zeros(1, device=device)
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return {"device": torch.cuda.get_device_name(device), "GiB": round(memory), **versions}


def as_on_the_cpu(case: Case, device: torch.device) -> Finding:
    network = case.network()
    there = copy.deepcopy(network).to(device)
    finding = differences(outcome(case, network, torch.device("cpu")), outcome(case, there, device))
    if case.finds_objects(network):
        image = case.batch()[0]
        places = ((network, image), (there, image.to(device)))
        finding["objects"] = [sum(len(tile.scores) for tile in one.predict_instances(x)) for one, x in places]
    return finding


def compiled_as_before(case: Case, run: Run) -> Finding:
    torch._dynamo.reset()
    network = case.network().to(run.device)
    expected = outcome(case, network, run.device)
    network.compile(backend="eager" if run.smoke else "inductor", fullgraph=True)
    return differences(expected, outcome(case, network, run.device))


def outcome(case: Case, network: nn.Module, device: torch.device) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Loss, gradient and what prediction starts from, on the CPU."""
    image, target = (to_device(one, device) for one in case.batch())
    loss_of = case.loss(network.train())
    network.zero_grad()
    loss = loss_of(network(image), target)
    loss.backward()
    gradient = torch.cat([p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None])
    with torch.no_grad():
        answers = [answer.cpu() for answer in case.predict(network.eval(), image)]
    return loss.detach().cpu(), gradient, answers


def differences(one: Sequence[Any], other: Sequence[Any]) -> Finding:
    loss = float((one[0] - other[0]).abs() / one[0].abs())
    gradient = _relative(one[1], other[1])
    # of networks of objects the last two answers are maps; those before belong to queries, which may change places
    maps = max(_relative(*pair) for pair in zip(one[2][-2:], other[2][-2:], strict=True))
    equal = (one[2][-1].argmax(1) == other[2][-1].argmax(1)).float().mean()
    right = loss < LOSS_TOLERANCE and gradient < GRADIENT_TOLERANCE and maps < GRADIENT_TOLERANCE
    return {"ok": right, "loss": loss, "gradient": gradient, "prediction": maps, "equal labels": float(equal)}


def learns(case: Case, run: Run, half: torch.dtype) -> Finding:
    steps = 20 if run.smoke else LEARNING_STEPS
    step = Step.of(case, run.device, half)
    take = repeated(step, case)
    losses = torch.stack([take() for _ in range(steps)]).tolist()
    start, end = (sum(losses[part]) / 3 for part in (slice(0, 3), slice(-3, None)))
    finite = all(map(math.isfinite, losses))
    return {"ok": finite and end < start, "loss": [start, end], "scale": step.scaler.get_scale()}


def _compute_exactly() -> None:
    """Products of 10-bit mantissas would hide what is wrong."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def _relative(one: Tensor, other: Tensor) -> float:
    difference = (one.double() - other.double()).norm()
    return float(difference / one.double().norm().clamp(min=1e-12))
