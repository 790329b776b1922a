"""Benefit and cost of masked attention: each variant of MaskAttn-UNet at 128×128, on real data and at equal steps.

Two tasks: labels in photographs that are resized to 128 pixels (``compare_trainers.py``), and objects in patches of
128×128 pixels (``compare_instances.py``), both without mirroring. They resume where they were interrupted; at the end
one table is printed::

    python benchmarks/ablation_maskattn.py --fuseg DATA/fuseg --dsb2018 DATA/dsb2018 --work /tmp/maskattn

Both are folders with ``images/`` and ``masks/``, of label maps and of ids of objects. Multiplications are those of one
patch of the objects, the products of attention included; IoU and Dice are means over images of the foreground's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from methods import convert_photographs, stop

BENCHMARKS = Path(__file__).resolve().parent
VARIANTS = {
    "MaskAttn-UNet (default)": {},
    "no attention: plain U-Net": {"placement": "none"},
    "attention in the encoder": {"placement": "encoder"},
    "attention in the decoder": {"placement": "decoder"},
    "mask: hard": {"mask": "hard"},
    "mask: random": {"mask": "random"},
    "mask: none": {"mask": "none"},
}
LABELS, OBJECTS = "fuseg", "dsb2018"
TEST = {LABELS: 9, OBJECTS: 40}


def methods(args: argparse.Namespace, trainer: str, planner: str) -> list[str]:
    settings = [{"features_per_stage": args.widths} | VARIANTS[label] for label in args.variants]
    written = [",".join(f"{key}={json.dumps(value)}" for key, value in each.items()) for each in settings]
    return [f"{label}={trainer}:{planner}:{text}" for label, text in zip(args.variants, written, strict=True)]


def run(script: str, *arguments: object) -> None:
    subprocess.run([sys.executable, str(BENCHMARKS / script), *map(str, arguments)], check=True)


def run_labels(args: argparse.Namespace) -> None:
    planner = "MaskAttnUNetPlannerLowRes"
    data = ("--data", convert_photographs(args.fuseg, args.work), "--work", args.work / LABELS)
    budget = ("--configuration", "2d", "--steps", args.steps, "--test-cases", TEST[LABELS], "--threads", args.threads)
    ours = methods(args, "nnUNetTrainerMaskAttnUNet", planner)
    run("compare_trainers.py", *data, *budget, "--reference", planner, "--seeds", *args.seeds, "--methods", *ours)


def run_objects(args: argparse.Namespace) -> None:
    data = ("--images", args.dsb2018 / "images", "--masks", args.dsb2018 / "masks", "--work", args.work / OBJECTS)
    budget = ("--steps", args.steps, "--test", TEST[OBJECTS], "--threads", args.threads)
    ours = methods(args, "nnUNetTrainerMaskAttnUNetInstance", "MaskAttnUNetPlanner")
    run("compare_instances.py", *data, *budget, "--no-mirroring", "--seeds", *args.seeds, "--methods", *ours)


def finished_records(folder: Path, args: argparse.Namespace, test: dict) -> dict[str, list[dict]]:
    """Results of this budget, these widths and seeds, by label."""
    budget, records = {"steps": args.steps, **test}, {}
    for path in sorted((folder / "results").glob("*.json")):
        record = json.loads(path.read_text())
        seed = record["seed"] if "seed" in record else record["budget"]["seed"]
        same = record["overrides"] == {"features_per_stage": args.widths} | VARIANTS.get(record["label"], {})
        if same and seed in args.seeds and budget.items() <= record["budget"].items():
            records.setdefault(record["label"], []).append(record)
    return records


def table(args: argparse.Namespace) -> str:
    """One row for each variant that has results, means over the seeds."""
    tasks = {
        LABELS: ({"test_cases": TEST[LABELS]}, ("mean_dice", "mean_iou")),
        OBJECTS: ({"test": TEST[OBJECTS], "mirroring": False}, ("F1@0.5", "AP", "AP50", "PQ")),
    }
    results = {task: finished_records(args.work / task, args, test) for task, (test, _) in tasks.items()}
    head = ["variant", "parameters", "GMAC"]
    for task, first in ((LABELS, ["Dice", "each seed", "IoU"]), (OBJECTS, ["F1@0.5", "each seed", "AP", "AP50", "PQ"])):
        head += [f"{task}: {first[0]}", *first[1:], "s per step"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for label in VARIANTS:
        every = [record for task in results.values() for record in task.get(label, [])]
        if not every:
            continue
        line = [label, f"{every[-1]['parameters']:,}", f"{every[-1]['multiply_adds'] / 1e9:.3g}"]
        for task, (_, names) in tasks.items():
            records = results[task].get(label, [])
            line += cells(records, names) if records else [""] * (len(names) + 2)
        lines.append(line)
    caption = f"widths {'-'.join(map(str, args.widths))}, {args.steps} steps of two patches, seeds {args.seeds}"
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{caption}\n"


def cells(records: list[dict], names: tuple[str, ...]) -> list[str]:
    values = [[record[name] if name in record else record["scores"][name] for record in records] for name in names]
    first, *others = [f"{statistics.fmean(each):.3f}" for each in values]
    seconds = statistics.fmean(record["seconds_per_step"] for record in records)
    return [first, ", ".join(f"{value:.3f}" for value in values[0]), *others, f"{seconds:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--fuseg", type=Path, help="folder of photographs with images/ and masks/ of labels")
    add("--dsb2018", type=Path, help="folder of images with images/ and masks/ of objects")
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    add("--widths", nargs=4, type=int, default=[64, 128, 256, 256], help="of the stages; published: 64 128 256 256")
    add("--steps", type=int, default=600, help="of training for each variant and task, a multiple of 10")
    add("--seeds", nargs="+", type=int, default=[0, 1], help="each variant is trained once with each")
    add("--threads", type=int, default=2)
    args = parser.parse_args()
    for name, task in ((LABELS, run_labels), (OBJECTS, run_objects)):
        source = getattr(args, name)
        if source is None:
            continue
        if not source.is_dir():
            stop(f"--{name} {source} is not a folder; it has to hold images/ and masks/.")
        task(args)
        print("\n" + table(args), flush=True)


if __name__ == "__main__":
    main()
