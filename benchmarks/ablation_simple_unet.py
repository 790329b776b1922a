"""Answer the open questions of SimpleUNet on real data: every variant at the same budget, with stock nnU-Net beside.

Three tasks, each with its own budget: lesions in photographs (2D), and the hippocampus in 2D and in 3D. Each is one run
of ``compare_trainers.py``, which resumes where it was interrupted; at the end one table is printed::

    python benchmarks/ablation_simple_unet.py --hippocampus DATA/Dataset004_Hippocampus --fuseg DATA/fuseg \\
        --work /tmp/simple

``--fuseg`` is a folder with ``images/`` and ``masks/``. ``--tasks`` and ``--variants`` take part of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from contestants import convert_photographs, stop

BENCHMARKS = Path(__file__).resolve().parent
SIMPLE = "nnUNetTrainerSimpleUNet:SimpleUNetPlanner"
VARIANTS = {
    "nnU-Net": "nnUNetTrainer",
    "SimpleUNet 32 (default)": SIMPLE,
    "width 16": f"{SIMPLE}16",
    "width 48": f"{SIMPLE}48",
    "width 32, 2 blocks": f"{SIMPLE}:blocks_per_stage=2",
    "SimpleESKNet2 32": f"{SIMPLE}ESK",
    "fusion: no weights": f"{SIMPLE}:adaptive_fusion=false",
    "fusion: addition": f'{SIMPLE}:fusion="add"',
    "fusion: attention gate": f'{SIMPLE}:fusion="gate"',
    "selection rate 0.5": f"{SIMPLE}:selection_rate=0.5",
    "selection rate 1": f"{SIMPLE}:selection_rate=1.0",
    "deep supervision": f"{SIMPLE}:trainer.enable_deep_supervision=true",
    "operators: depthwise": f'{SIMPLE}:operators="depthwise"',
    "operators: grouped": f'{SIMPLE}:operators="grouped"',
    "early reduction": f"{SIMPLE}:early_reduction=true",
    "dilation 2": f"{SIMPLE}:dilation=2",
    "norm and ReLU behind the head": f"{SIMPLE}:head_norm=true",
    "batch norm": SIMPLE + ':norm_op="torch.nn.modules.batchnorm.BatchNorm{dims}d"',
    "learning rate 1e-3": f"{SIMPLE}:trainer.initial_lr=1e-3",
}
TASKS = {
    "hippocampus 3d": {"configuration": "3d_fullres", "batch-size": 2, "steps": 600, "test-cases": 32},
    "hippocampus 2d": {"configuration": "2d", "batch-size": 32, "steps": 600, "test-cases": 32},
    "fuseg 2d": {"configuration": "2d", "batch-size": 2, "steps": 600, "test-cases": 9},
}


def run(task: str, data: Path, args: argparse.Namespace) -> Path:
    """All variants of one task; returns the folder of their results."""
    work, settings = args.work / task.replace(" ", "_"), dict(TASKS[task])
    settings["steps"] = args.steps or settings["steps"]
    dims = settings["configuration"][0]
    contestants = [f"{label}={VARIANTS[label].replace('{dims}', dims)}" for label in args.variants]
    command = [sys.executable, str(BENCHMARKS / "compare_trainers.py"), "--data", str(data), "--work", str(work)]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    command += ["--threads", str(args.threads), "--seeds", *map(str, args.seeds), "--contestants", *contestants]
    subprocess.run(command, check=True)
    return work / "results"


def table(works: dict[str, Path], steps: int | None) -> str:
    """One row for each variant that has results: its cost from the first task that has it, Dice from each."""
    results: dict[tuple[str, str], list[dict]] = {}
    for task, folder in works.items():
        for path in sorted(folder.glob("*.json")):
            record = json.loads(path.read_text())
            if record["budget"]["steps"] == (steps or TASKS[task]["steps"]):
                results.setdefault((record["label"], task), []).append(record)
    head = ["variant", "parameters"]
    for task in works:
        head += [f"{task}: Dice", "GMAC", "s per step", "CPU s per case"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for label in VARIANTS:
        found = {task: results[label, task] for task in works if (label, task) in results}
        if not found:
            continue
        line = [label, f"{next(iter(found.values()))[0]['parameters']:,}"]
        for task in works:
            records = found.get(task)
            line += ["", "", "", ""] if records is None else cells(records)
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(records: list[dict]) -> list[str]:
    def mean(key: str) -> float:
        return statistics.fmean(record[key] for record in records)

    return [
        f"{mean('mean_dice'):.4f}",
        f"{mean('multiply_adds') / 1e9:.3g}",
        f"{mean('seconds_per_step'):.3f}",
        f"{mean('cpu_seconds_per_case'):.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--hippocampus", type=Path, help="Dataset004_Hippocampus as an nnU-Net raw data set")
    add("--fuseg", type=Path, help="folder with images/ and masks/")
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    add("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    add("--steps", type=int, help="training steps in place of each task's own")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--threads", type=int, default=2)
    args = parser.parse_args()
    works = {}
    for task in args.tasks:
        source = args.hippocampus if task.startswith("hippocampus") else args.fuseg
        if source is None or not source.is_dir():
            stop(f"the task '{task}' needs the folder of its data; give it with --{task.split()[0]}.")
        data = convert_photographs(source, args.work) if task.startswith("fuseg") else source
        works[task] = run(task, data, args)
        print("\n" + table(works, args.steps), flush=True)


if __name__ == "__main__":
    main()
