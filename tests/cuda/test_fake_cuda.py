"""Networks as planned on CUDA tensors without numbers: no operator gets tensors of two devices, in any precision.

The forward pass, and losses that need nothing on the host. In the backward pass torch asks the driver for streams; that
and the other losses are tested on a pretended device (`test_pretended_device`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu.cases import (
    FULL,
    HIPPOCAMPUS,
    IMAGES,
    SMALL_3D,
    iaunet,
    maskattn_unet,
    maskmed,
    simple_unet,
    to_device,
)
from benchmarks.gpu.speed import IAUNET_FEATURES

pytestmark = pytest.mark.skipif(
    not torch.backends.cuda.is_built() or torch.cuda.is_available(),
    reason="needs the CUDA build of torch and no GPU: make cuda-check",
)
CASES = [
    maskmed(HIPPOCAMPUS),
    maskmed(FULL),
    maskmed(IMAGES),
    iaunet(replace(IMAGES, features=IAUNET_FEATURES)),
    iaunet(SMALL_3D),
    maskattn_unet(IMAGES),
    maskattn_unet(IMAGES, objects=True),
    simple_unet(IMAGES),
    simple_unet(FULL),
]
WITHOUT_HOST = ("MaskAttnUNet", "SimpleUNet")
"""Their losses."""


@pytest.mark.parametrize("half", [None, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case.name} {case.plan.patch}" for case in CASES])
def test_a_network_of_planned_size(number: int, half: torch.dtype | None):
    case = CASES[number]
    with FakeTensorMode(), autocast(half):
        with torch.device("cuda"):
            network = case.network().train()
        image, target = (to_device(one, "cuda") for one in case.batch())
        answer = network(image)
        output = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)]
        if case.name.startswith(WITHOUT_HOST):
            output.append(case.loss(network)(answer, target))
            assert output[-1].dtype == torch.float32
        with torch.no_grad():
            answers = case.predict(network.eval(), image)
        assert all(tensor.device.type == "cuda" for tensor in (*output, *answers))
        assert half is None or half in {tensor.dtype for tensor in output}


@contextlib.contextmanager
def autocast(half: torch.dtype | None) -> Iterator[None]:
    """``torch.autocast("cuda")``, which switches itself off where there is no GPU."""
    if half is None:
        yield
        return
    before = torch.get_autocast_dtype("cuda")
    torch.autocast_increment_nesting()
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", half)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", before)
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
