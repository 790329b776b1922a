"""What MaskAttnUNet needs for a training step, against the attention written out as its formula.

Both give the same numbers; the formula holds a matrix of positions by positions for each head and image. All modules
are on (encoder and decoder, every key at every scale), forward and backward pass, float32, one CPU. ``counted`` is the
most that was alive in tensors at one time, without parameters; it is counted on tensors that have no data, so that it
needs neither memory nor time. ``measured`` is the largest resident size of a process of its own, libraries and
parameters included, where the count says that the machine can hold it. Needs no data::

    python benchmarks/attention_memory.py
    python benchmarks/attention_memory.py --size 64 --batch-size 2
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allocations import AllocationCounter

from maskmed_nnu.networks import MaskAttnUNet
from maskmed_nnu.networks.layers.maskattn_unet import mask_attention

WIDTHS = (64, 128, 256, 256)


def explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """`mask_attention.attend` with all scores at once."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return (scores if bias is None else scores + bias[:, :, None]).softmax(-1) @ value


FORMULATIONS = {"softmax written out": explicit, "ours": mask_attention.attend}


def build(args: argparse.Namespace, formulation: str) -> tuple[MaskAttnUNet, Tensor]:
    mask_attention.attend = FORMULATIONS[formulation]
    torch.manual_seed(0)
    network = MaskAttnUNet(
        input_channels=3,
        num_classes=args.classes,
        n_stages=len(WIDTHS),
        features_per_stage=WIDTHS,
        strides=[[1, 1]] + [[2, 2]] * (len(WIDTHS) - 1),
        norm_op_kwargs={"affine": True},
        mask=args.mask,
    )
    return network, torch.randn(args.batch_size, 3, args.size, args.size)


def count(args: argparse.Namespace, formulation: str) -> int:
    """Bytes alive at the peak of a step."""
    with FakeTensorMode():
        network, image = build(args, formulation)
        counter = AllocationCounter()
        counter.ignore(image, *network.parameters())
        with counter:
            network(image).square().mean().backward()
    return counter.peak


def measure(args: argparse.Namespace, formulation: str) -> dict[str, float]:
    """Takes the step in this process; its largest size in bytes, seconds of processor time, and what came out."""
    network, image = build(args, formulation)
    begin = time.process_time()
    loss = network(image).square().mean()
    loss.backward()
    seconds = time.process_time() - begin
    gradient = sum(float(parameter.grad.abs().sum()) for parameter in network.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "seconds": seconds, "loss": float(loss.detach()), "gradient": gradient}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--mask", choices=mask_attention.MASKS, default="soft")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=FORMULATIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.measure:
        print(json.dumps(measure(args, args.measure)))
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    counted = {name: count(args, name) for name in FORMULATIONS}
    base = counted["softmax written out"]
    print("| formulation | counted | share | measured | CPU s |\n| --- | --- | --- | --- | --- |")
    outcomes = []
    for name, peak in counted.items():
        row = "– | –"
        if peak < memory / 2:
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", name]
            measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            outcomes.append((measured["loss"], measured["gradient"]))
            row = f"{measured['peak'] / 2**20:,.0f} MiB | {measured['seconds']:.0f}"
        print(f"| {name} | {peak / 2**20:,.0f} MiB | {peak / base:.3f} | {row} |", flush=True)
    if len(outcomes) > 1:
        torch.testing.assert_close(torch.tensor(outcomes), torch.tensor(outcomes[-1:]).expand(len(outcomes), 2))
    print(f"\n{args.size}×{args.size}, batch {args.batch_size}, widths {', '.join(map(str, WIDTHS))}, mask {args.mask}")


if __name__ == "__main__":
    main()
