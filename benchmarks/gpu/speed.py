"""What steps and predictions take beside nnU-Net's own network: time, memory, and waits of the host for the GPU."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.cases import (
    FULL,
    HIPPOCAMPUS,
    IMAGES,
    TINY_2D,
    TINY_3D,
    Case,
    Loss,
    Plan,
    iaunet,
    maskattn_unet,
    maskmed,
    simple_unet,
    stock,
    to_device,
)
from benchmarks.gpu.run import Finding, Run

WARM_UP = 3
REFERENCE = {2: (85_000_000, 12), 3: (560_000_000, 2)}
"""nnU-Net's planner: a network of this feature map size needs 8 GB with so many images in a batch."""
REFERENCE_GIB = 8.0
IAUNET_FEATURES = (16, 32, 64, 128, 128, 128)
"""Those of its planner."""


def volumes(run: Run) -> None:
    """MaskMed beside nnU-Net on two plans, in half precision as nnU-Net trains."""
    torch.backends.cudnn.benchmark = True
    for name, plan in plans(run.smoke).items():
        cases = [stock(plan), maskmed(plan, narrow=run.smoke)]
        run.check(f"step, {name}", lambda cases=cases: compare_steps(run, cases), needs=15)
        run.check(f"prediction, {name}", lambda cases=cases: compare_predictions(run, cases))
        run.check(f"waits of a step, {name}", lambda case=cases[1]: host_waits(run, case))


def images(run: Run) -> None:
    """The networks of images beside nnU-Net's 2D one."""
    torch.backends.cudnn.benchmark = True
    plan = TINY_2D if run.smoke else IMAGES
    own = plan if run.smoke else replace(plan, features=IAUNET_FEATURES)
    others = [
        iaunet(own, narrow=run.smoke),
        maskattn_unet(plan, narrow=run.smoke),
        maskattn_unet(plan, narrow=run.smoke, objects=True),
        simple_unet(plan),
    ]
    for case in others:
        run.check(f"step of images, {case.name}", lambda case=case: compare_steps(run, [stock(plan), case]), needs=15)
        run.check(f"prediction of images, {case.name}", lambda case=case: compare_predictions(run, [stock(plan), case]))
        run.check(f"waits of a step, {case.name}", lambda case=case: host_waits(run, case))


def compiled_volumes(run: Run) -> None:
    """The same steps with compiled networks, one by one, since to compile one takes a minute."""
    torch.backends.cudnn.benchmark = True
    for name, plan in plans(run.smoke).items():
        for case in (stock(plan), maskmed(plan, narrow=run.smoke)):
            what = f"compiled step of {case.name}, {name}"
            run.check(what, lambda case=case: compare_steps(run, [case], compiled=True), needs=40)


def plans(smoke: bool) -> dict[str, Plan]:
    if smoke:
        return {"tiny": TINY_3D}
    named = {"Hippocampus": HIPPOCAMPUS, "full": FULL}
    return {f"{name} {'×'.join(map(str, plan.patch))} batch {plan.batch}": plan for name, plan in named.items()}


def compare_steps(run: Run, cases: list[Case], *, compiled: bool = False) -> Finding:
    """Milliseconds per step in interleaved repeats, the last case's share of the first's; GiB beside planned ones."""
    finding: Finding = {}
    steps: list[Callable[[], object]] = []
    for case in cases:
        before = _allocated(run, reset=True)
        step = Step.of(case, run.device, run.half)
        if compiled:
            torch._dynamo.reset()
            step.network.compile(backend="eager" if run.smoke else "inductor")
        steps.append(repeated(step, case))
        for _ in range(WARM_UP):
            steps[-1]()
        memory = {} if run.smoke else {"GiB": _allocated(run, peak=True) - before}
        finding[case.name] = {**memory, "planned GiB": planned_gib(case)}
    return _with_times(run, finding, cases, steps)


def compare_predictions(run: Run, cases: list[Case]) -> Finding:
    """The same of the forward pass over one patch."""
    finding: Finding = {}
    steps: list[Callable[[], object]] = []
    for case in cases:
        network = case.network().to(run.device).eval()
        if hasattr(getattr(network, "decoder", None), "deep_supervision"):
            network.decoder.deep_supervision = False  # where nnU-Net's network has it
        image = case.batch()[0][:1].to(run.device)

        def step(network: nn.Module = network, image: Tensor = image) -> None:
            with torch.inference_mode(), torch.autocast(run.device.type, dtype=run.half):
                network(image)

        for _ in range(WARM_UP):
            step()
        finding[case.name] = {}
        steps.append(step)
    return _with_times(run, finding, cases, steps)


def _with_times(run: Run, finding: Finding, cases: list[Case], steps: list[Callable[[], object]]) -> Finding:
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(run.repeats):
        for step, taken in zip(steps, times, strict=True):
            _synchronize(run)
            begin = time.perf_counter()
            step()
            _synchronize(run)
            taken.append(1e3 * (time.perf_counter() - begin))
    medians = [statistics.median(taken) for taken in times]
    for case, median in zip(cases, medians, strict=True):
        finding[case.name] = {"ms": median, **finding[case.name]}
    return {"ratio": medians[-1] / medians[0], **finding} if len(cases) > 1 else finding


class Step:
    """A training step as nnU-Net takes it, in half precision; called, it returns the loss."""

    def __init__(
        self,
        network: nn.Module,
        loss_of: Loss,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        half: torch.dtype,
    ) -> None:
        self.network, self.loss_of, self.optimizer, self.device, self.half = network, loss_of, optimizer, device, half
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)

    def __call__(self, image: Tensor, target: Any) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self.half):
            loss = self.loss_of(self.network(image), target)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    @classmethod
    def of(cls, case: Case, device: torch.device, half: torch.dtype) -> Step:
        network = case.network().to(device).train()
        return cls(network, case.loss(network), case.optimizer(network), device, half)


def repeated(step: Step, case: Case) -> Callable[[], Tensor]:
    """The step on the batch of ``case``."""
    image, target = (to_device(one, step.device) for one in case.batch())
    return lambda: step(image, target)


def host_waits(run: Run, case: Case) -> Finding:
    """How often the host waits for the GPU in a step, and where; the loss scale of half precision is one of them."""
    if run.smoke:
        return {"waits": "of a GPU only"}
    step = repeated(Step.of(case, run.device, run.half), case)
    for _ in range(WARM_UP):
        step()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    torch.cuda.set_sync_debug_mode("default")
    where = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in caught)
    return {"waits": len(caught), "where": dict(where)}


def planned_gib(case: Case) -> float:
    """What nnU-Net's planner expects of the network."""
    with torch.device("meta"):
        network = case.network()
    size, batch = REFERENCE[case.plan.dim]
    features = network.compute_conv_feature_map_size(case.plan.patch)
    return features / size * case.plan.batch / batch * REFERENCE_GIB


def _allocated(run: Run, *, reset: bool = False, peak: bool = False) -> float:
    """GiB."""
    if run.smoke:
        return math.nan
    if reset:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 2**30


def _synchronize(run: Run) -> None:
    if run.device.type == "cuda":
        torch.cuda.synchronize()
