"""Answer the open questions of SimpleUNet on real data: every variant at the same budget, with stock nnU-Net beside.

Three tasks, each with its own budget: lesions in photographs (2D), and the hippocampus in 2D and in 3D. Each is one run
of ``compare_trainers.py``, which resumes where it was interrupted. Then the networks of a task take turns at a training
step and at the prediction of a patch, so that a busy machine slows all alike, and one table of all tasks is printed::

    python benchmarks/ablation_simple_unet.py --hippocampus DATA/Dataset004_Hippocampus --fuseg DATA/fuseg \\
        --work /tmp/simple

``--fuseg`` is a folder with ``images/`` and ``masks/``. ``--tasks`` and ``--variants`` select a part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from methods import Method, convert_photographs, stop

BENCHMARKS = Path(__file__).resolve().parent
SIMPLE = "nnUNetTrainerSimpleUNet:SimpleUNetPlanner"
VARIANTS = {
    "nnU-Net": "nnUNetTrainer",
    "nnU-Net, AdamW 1e-3": "benchmark:adamw",
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
    "fuseg 2d": {"configuration": "2d", "batch-size": 2, "steps": 200, "test-cases": 9},
}
TIMING, REPEATS = "timing.json", 5


def written(label: str, task: str) -> str:
    """The variant as ``compare_trainers.py`` reads it."""
    return f"{label}={VARIANTS[label].replace('{dims}', TASKS[task]['configuration'][0])}"


def run(task: str, data: Path, args: argparse.Namespace) -> None:
    """All variants of one task."""
    work, settings = args.work / task.replace(" ", "_"), dict(TASKS[task])
    settings["steps"] = args.steps or settings["steps"]
    methods = [written(label, task) for label in args.variants]
    command = [sys.executable, str(BENCHMARKS / "compare_trainers.py"), "--data", str(data), "--work", str(work)]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    command += ["--threads", str(args.threads), "--seeds", *map(str, args.seeds), "--methods", *methods]
    subprocess.run(command, check=True)


def finished_records(task: str, args: argparse.Namespace) -> dict[str, list[dict]]:
    """The task's results of this budget and these seeds, by label."""
    steps, results = args.steps or TASKS[task]["steps"], {}
    budget = {"steps": steps, "batch_size": TASKS[task]["batch-size"], "test_cases": TASKS[task]["test-cases"]}
    for path in sorted((args.work / task.replace(" ", "_") / "results").glob("*.json")):
        record = json.loads(path.read_text())
        label = record["label"]
        if label not in VARIANTS or record["seed"] not in args.seeds or not budget.items() <= record["budget"].items():
            continue
        ours = Method.parse(written(label, task))
        if (record["trainer"], record["overrides"]) == (ours.trainer, ours.overrides):
            results.setdefault(label, []).append(record)
    return results


# ----------------------------------------------------------------------------------------------------- seconds
def measure(task: str, labels: list[str], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """CPU seconds of a step's forward and backward pass, and of one patch's prediction: medians; kept in WORK."""
    import torch

    work = args.work / task.replace(" ", "_")
    (folder,) = (work / "nnUNet_preprocessed").iterdir()
    patch = plan("ExperimentPlanner", folder, task)["patch_size"]
    measured_with = {"threads": args.threads, "patch_size": patch}
    if (work / TIMING).is_file():
        kept = json.loads((work / TIMING).read_text())
        if kept.get("measured_with") == measured_with and set(labels) <= set(kept["medians"]):
            return kept["medians"]
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    channels = len(json.loads((folder / "dataset.json").read_text())["channel_names"])
    networks = {label: build(Method.parse(written(label, task)), folder, task, channels) for label in labels}
    data = torch.randn(TASKS[task]["batch-size"], channels, *patch)
    seconds = {label: {"step": [], "patch": []} for label in labels}
    for repeat in range(-1, REPEATS):
        for label, network in networks.items():
            begin = time.process_time()
            output = network.train()(data)
            sum(scale.square().mean() for scale in (output if isinstance(output, list) else [output])).backward()
            trained = time.process_time()
            network.zero_grad(set_to_none=True)
            network.eval()
            between = time.process_time()
            with torch.no_grad():
                network(data[:1])
            predicted = time.process_time()
            if repeat >= 0:  # the first warms caches and allocators up
                seconds[label]["step"].append(trained - begin)
                seconds[label]["patch"].append(predicted - between)
        print(f"  {task}: timed {repeat + 2} of {REPEATS + 1}", flush=True)
    medians = {
        label: {what: statistics.median(times) for what, times in each.items()} for label, each in seconds.items()
    }
    (work / TIMING).write_text(json.dumps({"measured_with": measured_with, "medians": medians}, indent=2))
    return medians


def plan(planner: str, folder: Path, task: str) -> dict:
    name = "nnUNetPlans" if planner == "ExperimentPlanner" else planner.replace("Planner", "") + "Plans"
    return json.loads((folder / f"{name}.json").read_text())["configurations"][TASKS[task]["configuration"]]


def build(ours: Method, folder: Path, task: str, channels: int) -> Any:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    architecture = plan(ours.planner, folder, task)["architecture"]
    kwargs = dict(architecture["arch_kwargs"])
    kwargs |= {name: value for name, value in ours.overrides.items() if not name.startswith("trainer.")}
    classes = len(json.loads((folder / "dataset.json").read_text())["labels"])
    supervised = ours.overrides.get("trainer.enable_deep_supervision", ours.planner == "ExperimentPlanner")
    return get_network_from_plans(
        architecture["network_class_name"],
        kwargs,
        architecture["_kw_requires_import"],
        channels,
        classes,
        deep_supervision=supervised,
    )


# ------------------------------------------------------------------------------------------------------- table
def table(args: argparse.Namespace) -> str:
    """One row for each variant that has results; of each task what it costs there, and Dice."""
    results = {task: finished_records(task, args) for task in args.tasks}
    seconds = {task: measure(task, list(each), args) for task, each in results.items() if each}
    head, lines = ["variant"], []
    for task in seconds:
        head += [f"{task}: Dice", "parameters", "GMAC", "CPU s per step", "CPU s per patch"]
    for label in VARIANTS:
        line = [label]
        for task, times in seconds.items():
            records = results[task].get(label)
            line += [""] * 5 if records is None else cells(records, times[label])
        if any(line[1:]):
            lines.append(line)
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(records: list[dict], seconds: dict[str, float]) -> list[str]:
    return [
        f"{statistics.fmean(record['mean_dice'] for record in records):.4f}",
        f"{records[0]['parameters']:,}",
        f"{records[0]['multiply_adds'] / 1e9:.3g}",
        f"{seconds['step']:.3f}",
        f"{seconds['patch']:.3f}",
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
    for task in args.tasks:
        source = args.hippocampus if task.startswith("hippocampus") else args.fuseg
        if source is None or not source.is_dir():
            stop(f"the task '{task}' needs the folder of its data; give it with --{task.split()[0]}.")
        run(task, convert_photographs(source, args.work) if task.startswith("fuseg") else source, args)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, str(args.work))  # nnU-Net asks for them when it is imported
    sys.path.insert(0, str(BENCHMARKS.parent))
    print("\n" + table(args), flush=True)


if __name__ == "__main__":
    main()
