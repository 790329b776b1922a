"""What masked attention brings and costs: each variant of MaskAttn-UNet at 128×128, on real data and at equal steps.

Two tasks: labels in photographs that are resized to 128 pixels (``compare_trainers.py``), and objects in patches of
128×128 pixels (``compare_instances.py``), both without mirroring. They resume where they were interrupted; at the end
one table is printed::

    python benchmarks/ablation_maskattn.py --fuseg DATA/fuseg --dsb2018 DATA/dsb2018 --work /tmp/maskattn

Both are folders with ``images/`` and ``masks/``, of label maps and of ids of objects. Multiplications are those of one
patch, the products of attention included.
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


def contestants(args: argparse.Namespace, trainer: str, planner: str) -> list[str]:
    settings = [{"features_per_stage": args.widths} | VARIANTS[label] for label in args.variants]
    written = [",".join(f"{key}={json.dumps(value)}" for key, value in each.items()) for each in settings]
    return [f"{label}={trainer}:{planner}:{text}" for label, text in zip(args.variants, written, strict=True)]


def run(script: str, *arguments: object) -> None:
    subprocess.run([sys.executable, str(BENCHMARKS / script), *map(str, arguments)], check=True)


def run_labels(args: argparse.Namespace) -> None:
    planner = "MaskAttnUNetPlannerLowRes"
    data = ("--data", convert_photographs(args.fuseg, args.work), "--work", args.work / LABELS)
    budget = ("--configuration", "2d", "--steps", args.steps, "--test-cases", TEST[LABELS], "--threads", args.threads)
    ours = contestants(args, "nnUNetTrainerMaskAttnUNet", planner)
    run("compare_trainers.py", *data, *budget, "--reference", planner, "--seeds", *args.seeds, "--contestants", *ours)


def run_objects(args: argparse.Namespace) -> None:
    data = ("--images", args.dsb2018 / "images", "--masks", args.dsb2018 / "masks", "--work", args.work / OBJECTS)
    budget = ("--steps", args.steps, "--test", TEST[OBJECTS], "--threads", args.threads)
    ours = contestants(args, "nnUNetTrainerMaskAttnUNetInstance", "MaskAttnUNetPlanner")
    run("compare_instances.py", *data, *budget, "--no-mirroring", "--contestants", *ours)


def found(folder: Path, args: argparse.Namespace) -> dict[str, list[dict]]:
    """Results of this budget and these widths, by label."""
    records: dict[str, list[dict]] = {}
    for path in sorted((folder / "results").glob("*.json")):
        record = json.loads(path.read_text())
        same = record["overrides"].get("features_per_stage") == args.widths
        if same and record["budget"].get("steps") == args.steps:
            records.setdefault(record["label"], []).append(record)
    return records


def table(args: argparse.Namespace) -> str:
    """One row for each variant that has results."""
    labels, objects = found(args.work / LABELS, args), found(args.work / OBJECTS, args)
    head = ["variant", "parameters", "GMAC", "s per step"]
    head += [f"{LABELS}: Dice", "each seed", "mIoU", f"{OBJECTS}: F1@0.5", "AP", "AP50", "PQ"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for label in VARIANTS:
        records, things = labels.get(label, []), objects.get(label, [])
        if not records and not things:
            continue
        first = (things or records)[0]
        line = [label, f"{first['parameters']:,}", f"{first['multiply_adds'] / 1e9:.3g}"]
        line.append(f"{statistics.fmean(r['seconds_per_step'] for r in [*records, *things]):.2f}")
        if records:
            line.append(f"{statistics.fmean(r['mean_dice'] for r in records):.3f}")
            line.append(", ".join(f"{r['mean_dice']:.3f}" for r in records))
            line.append(f"{statistics.fmean(r['mean_iou'] for r in records):.3f}")
        else:
            line += ["", "", ""]
        names = ("F1@0.5", "AP", "AP50", "PQ")
        line += [f"{things[0]['scores'][name]:.3f}" if things else "" for name in names]
        lines.append(line)
    caption = f"widths {'-'.join(map(str, args.widths))}, {args.steps} steps of two patches of 128×128"
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{caption}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--fuseg", type=Path, help="folder of photographs with images/ and masks/ of labels")
    add("--dsb2018", type=Path, help="folder of images with images/ and masks/ of objects")
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    add("--widths", nargs=4, type=int, default=[64, 128, 256, 256], help="of the stages; published: 64 128 256 256")
    add("--steps", type=int, default=600, help="of training for each variant and task, a multiple of 10")
    add("--seeds", nargs="+", type=int, default=[0, 1], help="of the labels' trainings")
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
