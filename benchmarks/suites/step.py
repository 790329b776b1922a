"""What a training step of MaskMed costs beside one of nnU-Net's network with the same encoder, patch and batch.

hippocampus: the plan of MSD Hippocampus (patch 40×56×40, batch 2, 3 classes); full: six stages of 32 to 320 channels,
16 classes, a cube of --patch voxels, batch 1. MaskMed has its planner's settings for the plan. A step is forward, loss,
backward, gradient clipping and optimizer; no data are needed.

    python -m benchmarks step
    python -m benchmarks step --cases full --patch 128 --batch-size 2
    python -m benchmarks step --set fsad=null loss.num_points=12544
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.harness.case import Case, Method, Run
from benchmarks.subjects import unets

add_options = unets.add_plan_options
PEER = "nnU-Net"


def build(name: str, options: argparse.Namespace) -> Case:
    plan = unets.PLANS[name](options)
    overrides = dict(unets.parse_override(text) for text in options.set)

    @functools.cache
    def data() -> Any:
        return unets.batch(plan, options.device)

    def method(make: Callable[[], unets.Trained]) -> Run:
        trained = make()
        step = unets.training_step(trained, *data(), dtype=getattr(torch, options.precision))
        return Run(step, unets.num_parameters(trained.network))

    return Case(
        title=f"A training step of the {plan}, batch {plan.batch}, {options.precision}",
        peer=PEER,
        methods=[
            Method(PEER, lambda: method(lambda: unets.stock(plan))),
            Method(unets.variant(options.set), lambda: method(lambda: unets.maskmed(plan, overrides))),
        ],
        repeats=15 if name == "hippocampus" else 3,
    )


CASES = {name: functools.partial(build, name) for name in unets.PLANS}
DEFAULT = ("hippocampus",)
