"""A training of nnU-Net's network and of MaskMed on the hippocampus in equal time, and their Dice on unseen cases.

The cases are preprocessed before (`carry`). Augmentation runs on the GPU and is the same for both: mirroring, rotation,
scaling and shifts, brightness, contrast and noise. It is less than nnU-Net's own, and so is the time.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.cases import HIPPOCAMPUS, TINY_3D, Case, Plan, maskmed, stock
from benchmarks.gpu.run import Finding, Run
from benchmarks.gpu.speed import Step
from maskmed_nnu.nnunet.training.lr_scheduler import warmup_poly_factor

EVALUATION_SECONDS = 8
SMOKE_STEPS = 3


@dataclass(frozen=True)
class Cases:
    """``images`` and ``labels``, each ``[z, y, x]``; the last ``unseen`` of them are not trained on."""

    images: list[Tensor]
    labels: list[Tensor]
    unseen: int

    @classmethod
    def load(cls, file: Path, device: torch.device) -> Cases:
        with np.load(file) as arrays:
            count = sum(name.startswith("image") for name in arrays)
            images = [torch.from_numpy(arrays[f"image_{n}"]).float().to(device) for n in range(count)]
            labels = [torch.from_numpy(arrays[f"label_{n}"]).to(device) for n in range(count)]
            return cls(images, labels, int(arrays["unseen"]))


def training(run: Run) -> None:
    """Equal shares of the time that is left."""
    plan = replace(TINY_3D, batch=2) if run.smoke else HIPPOCAMPUS
    file = None if run.data is None else run.data / "hippocampus.npz"
    if not run.smoke and (file is None or not file.is_file()):
        run.check("training", lambda: {"skipped": "no preprocessed cases; python -m benchmarks.gpu.carry makes them"})
        return
    cases = made_up(plan, run.device) if file is None else Cases.load(file, run.device)
    methods = [stock(plan), maskmed(plan, narrow=run.smoke)]
    for number, case in enumerate(methods):
        seconds = run.left / (len(methods) - number) - EVALUATION_SECONDS
        run.check(f"training of {case.name}", lambda case=case, s=seconds: train(run, case, cases, s), needs=30)


def train(run: Run, case: Case, cases: Cases, seconds: float) -> Finding:
    torch.backends.cudnn.benchmark = True
    step = Step.of(case, run.device, run.half)
    rate = step.optimizer.param_groups[0]["lr"]
    sampler = Sampler(cases, case.plan)
    begin, steps, share = time.monotonic(), 0, 0.0
    while share < 1:
        factor = (1 - share) ** 0.9 if case.is_stock else warmup_poly_factor(share, total_steps=1, warmup_steps=0.05)
        for group in step.optimizer.param_groups:
            group["lr"] = rate * factor
        loss = step(*sampler.batch())
        steps += 1
        if steps % 10 == 0:
            loss.item()  # the host must not run ahead of the clock
        share = steps / SMOKE_STEPS if run.smoke else (time.monotonic() - begin) / seconds
    spent = time.monotonic() - begin
    scores = evaluate(step, cases, case.plan)
    return {"Dice": scores.mean().item(), "classes": scores.tolist(), "steps": steps, "ms": 1e3 * spent / steps}


class Sampler:
    """Random patches of random cases on the device, with augmentation."""

    def __init__(self, cases: Cases, plan: Plan) -> None:
        seen = len(cases.images) - cases.unseen
        self.box = tuple(max(edges) for edges in zip(*(image.shape for image in cases.images[:seen]), strict=True))
        self.images, self.labels = (
            torch.stack([_centred(one.float(), self.box) for one in part[:seen]])[:, None]
            for part in (cases.images, cases.labels)
        )
        self.plan, self.device = plan, self.images.device
        axes = [torch.arange(edge, device=self.device) - (edge - 1) / 2 for edge in plan.patch]
        places = torch.meshgrid(*axes, indexing="ij")[::-1]
        self.places = torch.stack(places, -1).view(-1, 3)  # x, y, z from the middle of the patch
        self.half_box = torch.tensor(self.box[::-1]).to(self.device) / 2

    def batch(self) -> tuple[Tensor, list[Tensor]]:
        """An image, and the label maps of nnU-Net's supervised scales."""
        size = self.plan.batch
        chosen = torch.randint(len(self.images), (size,), device=self.device)
        grid = (self.places @ self._turns(size) + self._uniform(-4, 4, (size, 1, 3))) / self.half_box
        grid = grid.view(size, *self.plan.patch, 3)
        image = F.grid_sample(self.images[chosen], grid, align_corners=False)
        label = F.grid_sample(self.labels[chosen], grid, mode="nearest", align_corners=False)
        each = (size, 1, 1, 1, 1)
        image = image * self._uniform(0.8, 1.25, each) + self._uniform(-0.2, 0.2, each)
        image = image + torch.randn_like(image) * self._uniform(0, 0.1, each)
        scales = range(len(self.plan.features) - 1)
        return image, [label[:, :, :: 2**scale, :: 2**scale, :: 2**scale].contiguous() for scale in scales]

    def _turns(self, size: int) -> Tensor:
        """Matrices ``[size, 3, 3]``: mirroring, rotation by up to 30 degrees about each axis, scaling."""
        signs = torch.randint(2, (size, 3), device=self.device) * 2 - 1
        matrix = torch.diag_embed(signs * self._uniform(0.75, 1.33, (size, 1)))
        for axis in range(3):
            angle = self._uniform(-math.pi / 6, math.pi / 6, (size,))
            turn = torch.eye(3, device=self.device).repeat(size, 1, 1)
            one, other = (axis + 1) % 3, (axis + 2) % 3
            turn[:, one, one] = turn[:, other, other] = angle.cos()
            turn[:, one, other], turn[:, other, one] = angle.sin(), -angle.sin()
            matrix = matrix @ turn
        return matrix

    def _uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, device=self.device) * (high - low) + low


@torch.inference_mode()
def evaluate(step: Step, cases: Cases, plan: Plan) -> Tensor:
    """Mean Dice ``[classes - 1]`` of the unseen cases; where a case is larger than the patch, tiles are averaged."""
    network = step.network.eval()
    if hasattr(network.decoder, "deep_supervision"):
        network.decoder.deep_supervision = False
    scores = []
    for image, label in zip(cases.images[-cases.unseen :], cases.labels[-cases.unseen :], strict=True):
        box = tuple(map(max, zip(image.shape, plan.patch, strict=True)))
        padded, truth = (_centred(one.float(), box) for one in (image, label))
        total = torch.zeros(plan.classes, *box, device=image.device)
        for corner in itertools.product(*(sorted({0, a - b}) for a, b in zip(box, plan.patch, strict=True))):
            tile = tuple(slice(at, at + edge) for at, edge in zip(corner, plan.patch, strict=True))
            with torch.autocast(step.device.type, dtype=step.half):
                total[(slice(None), *tile)] += network(padded[tile][None, None])[0].float()
        found = total.argmax(0)
        scores.append([_dice(found == number, truth == number) for number in range(1, plan.classes)])
    return torch.stack([torch.stack(row) for row in scores]).nanmean(0)


def made_up(plan: Plan, device: torch.device) -> Cases:
    """Boxes, where there are no real cases."""
    image, scales = stock(replace(plan, batch=6)).batch()
    return Cases(list(image[:, 0].to(device)), list(scales[0][:, 0].to(device)), unseen=2)


def _centred(image: Tensor, box: tuple[int, ...]) -> Tensor:
    """Zeros around ``image``, up to the size of ``box``."""
    margins = [edge - own for edge, own in zip(box, image.shape, strict=True)]
    return F.pad(image, [side for margin in margins[::-1] for side in (margin // 2, margin - margin // 2)])


def _dice(found: Tensor, truth: Tensor) -> Tensor:
    """NaN where neither has a voxel."""
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())
