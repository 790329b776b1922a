"""Tables of the results that a comparison keeps in its work folder."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

SCORES = ("F1@0.5", "F1@0.75", "DSB AP", "AP", "AP50", "AJI", "PQ")


def trainer_table(work: Path, budget: dict) -> str:
    """All results in WORK with this budget as markdown, the best mean first; GMAC are 1e9 multiply-adds of a patch."""
    records = [json.loads(path.read_text()) for path in sorted((work / "results").glob("*.json"))]
    records = [r for r in records if r["budget"] == budget]
    if not records:
        return "no results yet"
    groups: dict[str, list[dict]] = {}
    for r in sorted(records, key=lambda r: r["seed"]):
        groups.setdefault(json.dumps([r["label"], r["trainer"], r["planner"], r["overrides"]]), []).append(r)
    classes = list(records[0]["dice_per_class"])
    sides = ["wrong side"] if "wrong_side" in records[0] else []
    head = ["method", "mean Dice", "each seed", *sides, *classes, "parameters", "GMAC", "s per step", "CPU s per case"]
    rows = [
        (
            statistics.fmean(r["mean_dice"] for r in group),
            [
                group[0]["label"],
                f"{statistics.fmean(r['mean_dice'] for r in group):.4f}",
                ", ".join(f"{r['mean_dice']:.4f}" for r in group),
                *(wrong_side(group) for _ in sides),
                *(f"{statistics.fmean(r['dice_per_class'][c] for r in group):.4f}" for c in classes),
                f"{group[0]['parameters']:,}",
                f"{group[0]['multiply_adds'] / 1e9:.3g}",
                f"{statistics.fmean(r['seconds_per_step'] for r in group):.2f}",
                f"{statistics.fmean(r['cpu_seconds_per_case'] for r in group):.2f}",
            ],
        )
        for group in groups.values()
    ]
    rows.sort(key=lambda row: -row[0])
    lines = [head, ["---"] * len(head), *(row for _, row in rows)]
    caption = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in budget.items())
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{caption}\n"


def wrong_side(records: list[dict]) -> str:
    """Mean over the seeds of the voxels that were taken for those of the partner, and of their share."""
    voxels, share = (statistics.fmean(r["wrong_side"][name] for r in records) for name in ("voxels", "share"))
    return f"{voxels:,.0f} ({share:.1%})"


def instance_table(work: Path, budget: dict) -> str:
    """All results in WORK with this budget as markdown, means over their seeds, the best F1 first."""
    groups: dict[str, list[dict]] = {}
    for path in sorted((work / "results").glob("*.json")):
        record = json.loads(path.read_text())
        if {name: value for name, value in record["budget"].items() if name != "seed"} == budget:
            identity = [record["label"], record["trainer"], record["planner"], record["overrides"]]
            groups.setdefault(json.dumps(identity), []).append(record)

    def mean(records: list[dict], name: str) -> float:
        return statistics.fmean(record[name] if name in record else record["scores"][name] for record in records)

    head = ["method", *SCORES, "parameters", "iterations", "minutes", "s per image"]
    lines = [head, ["---"] * len(head)]
    for records in sorted(groups.values(), key=lambda records: -mean(records, "F1@0.5")):
        lines.append(
            [
                records[0]["label"],
                *(f"{mean(records, name):.3f}" for name in SCORES),
                f"{records[0]['parameters']:,}",
                f"{mean(records, 'iterations'):,.0f}",
                f"{mean(records, 'training_seconds') / 60:.1f}",
                f"{mean(records, 'seconds_per_image'):.2f}",
            ]
        )
    caption = ", ".join(f"{name} {value}" for name, value in budget.items())
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{caption}\n"
