"""What MaskAttnUNet needs for a training step, beside the attention written out as its formula.

Both give the same numbers; the formula holds a matrix of positions by positions for each head and image. All modules
are on (encoder and decoder, every key at every scale), forward and backward pass, float32. Memory is that of tensors,
counted on tensors without data, so that it needs neither memory nor time; what fits into half of the machine's memory
is timed, too. With --resident a process measures some 350 to 400 MiB more, for libraries and parameters.

    python -m benchmarks attention
    python -m benchmarks attention --size 64 --batch-size 2 --resident
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from unittest import mock

import psutil
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.harness.case import Case, Method, Run
from benchmarks.harness.cost import count
from benchmarks.subjects.unets import num_parameters
from maskmed_nnu.networks import MaskAttnUNet
from maskmed_nnu.networks.layers.maskattn_unet import mask_attention

WIDTHS = (64, 128, 256, 256)
PEER = "softmax written out"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=128, help="edge of the image (default: 128)")
    parser.add_argument("--batch-size", type=int, default=8, help="default: 8")
    parser.add_argument("--classes", type=int, default=21, help="default: 21")
    parser.add_argument("--mask", choices=mask_attention.MASKS, default="soft")


def written_out(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """`mask_attention.attend` with all scores at once."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return (scores if bias is None else scores + bias[:, :, None]).softmax(-1) @ value


FORMULATIONS = {PEER: written_out, "ours": mask_attention.attend}


def masked(options: argparse.Namespace) -> Case:
    size, batch, widths = (16, 1, (8,) * 4) if options.smoke else (options.size, options.batch_size, WIDTHS)

    def build(attend: Callable[..., Tensor]) -> tuple[MaskAttnUNet, Callable[[], Tensor]]:
        torch.manual_seed(0)
        with options.device:
            network = MaskAttnUNet(
                input_channels=3,
                num_classes=options.classes,
                n_stages=len(widths),
                features_per_stage=widths,
                strides=[[1, 1]] + [[2, 2]] * (len(widths) - 1),
                norm_op_kwargs={"affine": True},
                mask=options.mask,
            )
            image = torch.randn(batch, 3, size, size)

        def step() -> Tensor:
            network.zero_grad(set_to_none=True)
            with mock.patch.object(mask_attention, "attend", attend):
                loss = network(image).square().mean()
                loss.backward()
            return loss.detach()

        return network, step

    def formulation(attend: Callable[..., Tensor]) -> Run:
        with FakeTensorMode():
            _, step = build(attend)
            cost = count(step)
        if options.device.type == "cuda":
            memory = torch.cuda.get_device_properties(options.device).total_memory
        else:
            memory = psutil.virtual_memory().total
        network, step = build(attend) if cost.peak < memory / 2 else (None, None)
        return Run(step, num_parameters(network) if network is not None else None, cost=cost)

    def check(losses: dict[str, Tensor]) -> None:
        for loss in losses.values():
            torch.testing.assert_close(loss, next(iter(losses.values())))

    return Case(
        title=(
            f"Forward and backward of MaskAttnUNet, {size}×{size}, batch {batch}, widths "
            f"{', '.join(map(str, widths))}, mask {options.mask}"
        ),
        unit="pass",
        peer=PEER,
        methods=[Method(name, functools.partial(formulation, attend)) for name, attend in FORMULATIONS.items()],
        repeats=1,
        check=check,
    )


CASES = {"masked": masked}
DEFAULT = ("masked",)
