"""The learning rate is a function of the step, and progress is told often enough and not too often."""

from __future__ import annotations

import doctest

import pytest
import torch

from maskmed_nnu.nnunet.training import lr_scheduler, progress
from maskmed_nnu.nnunet.training.lr_scheduler import WarmupPolyLR, warmup_poly_factor, warmup_steps_for
from maskmed_nnu.nnunet.training.progress import Progress


@pytest.mark.parametrize("module", [lr_scheduler, progress])
def test_examples(module):
    results = doctest.testmod(module)
    assert results.attempted > 0 and results.failed == 0


def make(epochs: int = 4, steps: int = 50) -> WarmupPolyLR:
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)])
    return WarmupPolyLR(optimizer, initial_lr=1e-3, epochs=epochs, steps_per_epoch=steps)


def test_rises_then_falls_to_zero_in_every_group():
    lr = make()
    curve = []
    for step in range(201):
        lr.step(step / 50)
        curve.append(lr.optimizer.param_groups[0]["lr"])
        assert lr.optimizer.param_groups[1]["lr"] == curve[-1]
    top = curve.index(max(curve))
    assert top == warmup_steps_for(200) == 10
    assert curve[0] == pytest.approx(1e-4)
    assert curve[0] < curve[5] < curve[top] <= 1e-3
    assert all(a > b for a, b in zip(curve[top:-1], curve[top + 1 :], strict=True))
    assert curve[-1] == 0.0


def test_knows_nothing_of_the_steps_before():
    straight, resumed = make(), make()
    for step in range(120):
        straight.step(step / 50)
    resumed.step(119 / 50)
    assert straight.optimizer.param_groups[0]["lr"] == resumed.optimizer.param_groups[0]["lr"]


def test_is_nnunets_decay_after_the_warm_up():
    factor = warmup_poly_factor(125000, total_steps=250000, warmup_steps=warmup_steps_for(250000))
    assert factor == pytest.approx(0.5**0.9)
    assert warmup_steps_for(250000) == 1000 and warmup_steps_for(600) == 30


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_once_per_interval_and_not_at_the_end():
    clock = Clock()
    progress_ = Progress(total=100, interval=30.0, clock=clock)
    lines = []
    for _ in range(100):
        clock.now += 4.0
        lines.append(progress_.advance(0.5))
    told = [index + 1 for index, line in enumerate(lines) if line is not None]
    assert told == list(range(8, 100, 8))
    assert lines[7] == "iteration 8/100, loss 0.5000, 4.00 s each, 6 min 8 s left"
    assert lines[-1] is None


def test_progress_of_fast_iterations_is_silent():
    clock = Clock()
    progress_ = Progress(total=1000, interval=30.0, clock=clock)
    for _ in range(1000):
        clock.now += 0.01
        assert progress_.advance(0.5) is None
