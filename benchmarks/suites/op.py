"""What the FSAD-Transformer takes beside the formulation that projects every value level to its width first.

All give the same result, for sampling and value projection are linear and commute; they differ in their intermediate
tensors. Forward and backward pass of the transformer alone, with the planner's settings, on the features of nnU-Net's
six-stage encoder. On a GPU these are in PyTorch, and "ours, in Triton" is compared too.

    python -m benchmarks op
    python -m benchmarks op --patch 32 80 80 --batch-size 2 --layers 1
"""

from __future__ import annotations

import argparse
import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.harness.case import Case, Method, MissingError, Run
from benchmarks.subjects.unets import FEATURES, num_parameters
from maskmed_nnu.networks.layers.maskmed import deformable_triton
from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules

STRIDES = ((1, 1, 1), *[(2, 2, 2)] * 4, (1, 2, 2))
PEER = "project every level first"
FORMULATIONS = {PEER: True, "sample natively, project after": False, "ours": None}
IN_TRITON = "ours, in Triton"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patch", nargs=3, type=int, default=(64, 160, 160), help="default: 64 160 160")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--layers", type=int, help="of the transformer (default: the planner's)")


def fsad(options: argparse.Namespace) -> Case:
    patch = (16, 32, 32) if options.smoke else tuple(options.patch)
    channels = (8,) * 6 if options.smoke else FEATURES
    settings = maskmed_rules.network_settings(patch, STRIDES, num_classes=16, regions=False)["fsad"]
    settings |= {"layers": options.layers} if options.layers else {}

    dtype = getattr(torch, options.precision)

    @functools.cache
    def features() -> list[Tensor]:
        levels, shape = [], list(patch)
        for width, stride in zip(channels, STRIDES, strict=True):
            shape = [edge // step for edge, step in zip(shape, stride, strict=True)]
            level = torch.randn(options.batch_size, width, *shape, device=options.device)
            levels.append(level.requires_grad_())
        return levels

    def formulation(project_first: bool | None, *, in_triton: bool = False) -> Run:
        if in_triton and not deformable_triton.is_available():
            raise MissingError("Triton cannot be imported or finds no C compiler.")
        torch.manual_seed(0)
        network = FSADTransformer(channels=channels, spatial_dims=3, project_first=project_first, **settings)
        network.to(options.device)

        def step() -> float:
            for tensor in (*features(), *network.parameters()):
                tensor.grad = None
            autocast = torch.autocast(options.device.type, dtype=dtype, enabled=dtype != torch.float32)
            with autocast, nullcontext() if in_triton else in_pytorch():
                refined = network(features())
            loss: Any = sum(refined[level].float().square().mean() for level in network.query_levels)
            loss.backward()
            return float(loss.detach())

        features()
        return Run(step, num_parameters(network))

    def check(losses: dict[str, float]) -> None:
        tolerance = 1e-4 if options.precision == "float32" else 1e-2
        torch.testing.assert_close(list(losses.values())[:-1], list(losses.values())[1:], rtol=tolerance, atol=0.0)

    methods = [Method(name, functools.partial(formulation, choice)) for name, choice in FORMULATIONS.items()]
    if options.device.type == "cuda":
        methods.append(Method(IN_TRITON, lambda: formulation(None, in_triton=True)))
    levels = len(settings["query_levels"])
    return Case(
        title=(
            f"FSAD-Transformer, forward and backward, patch {'×'.join(map(str, patch))}, batch {options.batch_size}, "
            f"levels of {', '.join(map(str, channels))} channels, {levels} of them ask, {settings['layers']} layer(s), "
            f"width {settings['dim']}, {options.precision}"
        ),
        unit="pass",
        peer=PEER,
        methods=methods,
        repeats=3,
        check=check,
    )


def in_pytorch() -> AbstractContextManager[Any]:
    """What the operator does where there is no Triton."""
    return mock.patch.object(deformable_triton, "applies", lambda *_: False)


CASES = {"fsad": fsad}
DEFAULT = ("fsad",)
