"""All checks of a GPU within a few minutes, the most important first.

    python -m benchmarks.gpu                        # where the package is installed
    python3 -m benchmarks.gpu --carry FOLDER        # on a machine that has torch alone: see benchmarks/gpu/carry.py
    python -m benchmarks.gpu --smoke                # the same code on the CPU at toy size

Cut off at any time, ``OUT/gpu_check.json`` holds what has been found until then; the table at the end is Markdown.
Whatever is wrong makes the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

TRAINING_SHARE = 0.3
"""Of the time, kept for the training at the end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6, help="when to stop (%(default)s)")
    parser.add_argument("--carry", type=Path, help="folder of packages and preprocessed cases")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the results (%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="try the checks themselves, on the CPU")
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="some groups of checks")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    if options.carry is not None:
        if not (options.carry / "packages").is_dir():
            raise SystemExit(f"gpu: {options.carry} has no folder packages; python -m benchmarks.gpu.carry makes it.")
        sys.path.append(str(options.carry.resolve() / "packages"))

    # after the path is complete
    import torch

    from benchmarks.gpu import correctness, kernel, speed
    from benchmarks.gpu.run import Report, Run, run_group
    from benchmarks.gpu.training import training

    groups = [
        correctness.in_single_precision,
        kernel.deformable_attention,
        speed.volumes,
        correctness.in_half_precision,
        speed.images,
        speed.compiled_volumes,
        correctness.compiled,
        training,
    ]
    names = [group.__name__ for group in groups]
    if unknown := sorted(set(options.only or ()) - set(names)):
        raise SystemExit(f"gpu: there is no group {unknown[0]}; choose from {', '.join(names)}.")
    options.out.mkdir(parents=True, exist_ok=True)
    report = Report(options.out / "gpu_check.json")
    device = torch.device("cpu" if options.smoke else "cuda")
    for group in groups:
        if group.__name__ in (options.only or names):
            before_training = end - 60 * options.minutes * TRAINING_SHARE
            deadline = end if group is training or options.only else before_training
            run_group(group, Run(device, options.smoke, deadline, options.carry), report)
            if "card" in report.failed:
                break  # there is nothing to check
    print(f"\n{report.table()}")
    if report.failed:
        raise SystemExit(f"gpu: {len(report.failed)} wrong: {', '.join(report.failed)}")


if __name__ == "__main__":
    main()
