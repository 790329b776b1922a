"""The Triton kernel of MaskMed's deformable attention against its PyTorch form."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.gpu.run import Finding, Run
from maskmed_nnu.networks.layers.maskmed import deformable, deformable_grid, deformable_triton
from maskmed_nnu.networks.layers.maskmed.fsad import FSADTransformer
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules

Attend = Callable[..., Tensor]
TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Relative, of the norm of an output or gradient."""
CHANNELS = (32, 64, 128, 256, 320, 320)
STRIDES = [(1, 1, 1), *[(2, 2, 2)] * 4, (1, 2, 2)]
PATCH = (64, 160, 160)


def deformable_attention(run: Run) -> None:
    """Correct in two and three dimensions and three types, repeatable on request; time and memory on a large patch."""
    run.check("Triton", lambda: {"works": deformable_triton.is_available(), **({} if run.smoke else {"ok": works()})})
    for dim in (2, 3):
        for dtype in list(TOLERANCE)[: 1 if run.smoke else None]:
            name = f"deformable attention {dim}D {str(dtype).removeprefix('torch.')}"
            run.check(name, lambda dim=dim, dtype=dtype: against_float64(form(), dim, dtype, run.device))
    run.check("deformable attention repeats itself", lambda: repeats_itself(form(), run.device))
    for half in (False, True):
        name = f"deformable attention of {'×'.join(map(str, PATCH))}, {'half' if half else 'float32'}"
        run.check(name, lambda half=half: time_and_memory(run, half), needs=15)


def works() -> bool:
    return deformable_triton.is_available()


def form() -> Attend:
    return deformable_triton.attend if deformable_triton.is_available() else deformable_grid.attend


def arguments(dim: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Of odd sizes; some samples are off the levels. A level is sampled before it is projected, two after."""
    draw = torch.Generator().manual_seed(0)
    heads, width, queries, points = 3, 20, 37, 4
    shapes = [shape[-dim:] for shape in ((9, 14, 11), (5, 7, 6), (3, 4, 3))]

    def leaf(*size: int) -> Tensor:
        return torch.randn(*size, generator=draw).to(device, dtype).requires_grad_()

    offsets = 3 * torch.randn(2, queries, heads, 3, points, dim, generator=draw)
    return {
        "values": [leaf(2, *shape, channels) for shape, channels in zip(shapes, (12, 33, 48), strict=True)],
        "projections": [leaf(heads * width, channels) for channels in (12, 33, 48)],
        "projects_first": [False, True, True],
        "reference": torch.rand(queries, dim, generator=draw).to(device),
        "offsets": offsets.to(device, dtype).requires_grad_(),
        "weights": torch.rand(2, queries, heads, 3, points, generator=draw).to(device).requires_grad_(),
    }


def leaves(given: dict[str, Any]) -> list[Tensor]:
    return [*given["values"], *given["projections"], given["offsets"], given["weights"]]


def answers(attend: Attend, given: dict[str, Any]) -> list[Tensor]:
    """Output, and the gradients of everything for a fixed gradient of it."""
    output = attend(**given)
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.device, output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves(given), slope)]


def in_float64(given: dict[str, Any]) -> dict[str, Any]:
    def double(value: Any) -> Any:
        if isinstance(value, list):
            return [double(one) for one in value]
        return value.detach().double().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value

    return {name: double(value) for name, value in given.items()}


def against_float64(attend: Attend, dim: int, dtype: torch.dtype, device: torch.device) -> Finding:
    given = arguments(dim, dtype, device)
    found, expected = answers(attend, given), answers(deformable_grid.attend, in_float64(given))
    errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]
    return {"ok": max(errors) < TOLERANCE[dtype], "output": errors[0], "gradients": max(errors[1:])}


def repeats_itself(attend: Attend, device: torch.device) -> Finding:
    """Bit by bit, where torch is to be deterministic."""
    given = arguments(3, torch.float32, device)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        first, second = answers(attend, given), answers(attend, given)
    finally:
        torch.use_deterministic_algorithms(False)
    return {"ok": all(map(torch.equal, first, second))}


def time_and_memory(run: Run, half: bool) -> Finding:
    """Forward and backward pass of the whole FSAD-Transformer, in both forms."""
    forms = {"PyTorch": deformable_grid.attend, **({"Triton": form()} if works() else {})}
    finding: Finding = {name: _measure(run, attend, half) for name, attend in forms.items()}
    if "Triton" in finding and not run.smoke:
        pairs = [(finding["PyTorch"][unit], finding["Triton"][unit]) for unit in ("ms", "GiB")]
        finding |= {"times as fast": pairs[0][0] / pairs[0][1], "share of the memory": pairs[1][1] / pairs[1][0]}
    return finding


def _measure(run: Run, attend: Attend, half: bool) -> Finding:
    patch, channels = ((8, 16, 16), (8, 8, 8, 8)) if run.smoke else (PATCH, CHANNELS)
    strides = STRIDES[: len(channels)]
    settings = maskmed_rules.network_settings(patch, strides, num_classes=16, regions=False)["fsad"]
    if run.smoke:
        settings |= {"dim": 12, "ffn": 12}
    torch.manual_seed(0)
    network = FSADTransformer(channels=channels, spatial_dims=3, **settings).to(run.device)
    features, shape = [], list(patch)
    for width, stride in zip(channels, strides, strict=True):
        shape = [edge // step for edge, step in zip(shape, stride, strict=True)]
        dtype = run.half if half else torch.float32
        features.append(torch.randn(1, width, *shape, device=run.device, dtype=dtype).requires_grad_())
    times, before = [], 0
    with mock.patch.object(deformable, "attend", attend):
        for repeat in range(-2, 2 if run.smoke else 8):
            if run.device.type == "cuda" and repeat == 0:
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            begin = time.perf_counter()
            with torch.autocast(run.device.type, dtype=run.half, enabled=half):
                refined = network(features)
            sum(refined[level].float().square().mean() for level in network.query_levels).backward()
            for leaf in (*features, *network.parameters()):
                leaf.grad = None
            if run.device.type == "cuda":
                torch.cuda.synchronize()
            if repeat >= 0:
                times.append(1e3 * (time.perf_counter() - begin))
    memory = {} if run.smoke else {"GiB": (torch.cuda.max_memory_allocated() - before) / 2**30}
    return {"ms": statistics.median(times), **memory}
