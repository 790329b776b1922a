"""How many voxels of partners, as left and right kidney, a segmentation has put on the wrong side.

    python benchmarks/wrong_side.py TRUTH PREDICTIONS --partners 1,2 3,4

``TRUTH`` and ``PREDICTIONS`` are folders of label maps of the same names. A voxel is on the wrong side where the truth
is one partner and the prediction the other. The share is that of all true voxels of the partners.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from methods import stop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.instances.text import format_list
from maskmed_nnu.semantic.case_scores import count_wrong_side
from maskmed_nnu.semantic.label_files import find_pairs, read_pair

Pair = tuple[int, int]


def count_in_folders(
    truth: Path, prediction: Path, partners: Sequence[Pair], *, ending: str
) -> dict[str, list[tuple[int, int]]]:
    """For each case and pair of labels: voxels on the wrong side, and true voxels of both labels.

    Raises:
        InputError: where a prediction is missing or lies on another grid, or a file is not a label map.
    """
    counts = {}
    for pair in find_pairs(truth, prediction, ending=ending)[0]:
        true, predicted = read_pair(pair)
        counts[pair.name] = list(count_wrong_side(true.labels, predicted.labels, partners).values())
    return counts


def summary(counts: dict[str, list[tuple[int, int]]]) -> dict[str, Any]:
    """Voxels on the wrong side in each case and in all, all pairs together, and their share of the true voxels."""
    sums = {case: np.sum(of_pairs, axis=0).tolist() for case, of_pairs in counts.items()}
    wrong, true = map(sum, zip(*sums.values(), strict=True))
    return {
        "voxels": wrong,
        "share": wrong / true if true else 0.0,
        "voxels_per_case": {c: n for c, (n, _) in sums.items()},
    }


def check_labels(truth: Path, partners: Sequence[Pair], *, ending: str) -> None:
    """
    Raises:
        InputError: where no label map in ``truth`` has one of the labels.
    """
    found: set[int] = set()
    for path in truth.glob(f"[!.]*{ending}"):
        found |= set(np.unique(read_ids(path, overlap_layers=False)).tolist())
    missing = sorted({label for pair in partners for label in pair} - found)
    if missing:
        known = format_list(sorted(found - {0}), 40)
        raise InputError(f"No label map in {truth} has the label {format_list(missing)}; name partners among {known}.")


def parse_partners(texts: Sequence[str]) -> list[Pair]:
    """``["3,4", "5,6"]`` → [(3, 4), (5, 6)]; ends the program where they are no pairs."""
    pairs: list[Pair] = []
    for text in texts:
        if not re.fullmatch(r"[1-9]\d*,[1-9]\d*", text):
            stop(f"--partners {text!r} is not a pair; write two labels with a comma between them, as 3,4.")
        first, second = map(int, text.split(","))
        pairs.append((first, second))
    labels = [label for pair in pairs for label in pair]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        stop(f"--partners names the label {format_list(twice)} more than once; a label has one partner.")
    return pairs


def wrong_side_table(counts: dict[str, list[tuple[int, int]]], partners: Sequence[Pair]) -> str:
    """Voxels on the wrong side as markdown: a row for each case and their sum, a column for each pair."""
    rows = [(case, np.array(of_pairs)) for case, of_pairs in counts.items()]
    rows.append(("all", np.sum([of_pairs for _, of_pairs in rows], axis=0)))
    head = ["case", *(f"{first}, {second}" for first, second in partners), "wrong side", "true voxels", "share"]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for case, of_pairs in rows:
        wrong, true = of_pairs.sum(axis=0)
        share = f"{wrong / true:.4f}" if true else "–"
        lines.append([case, *(f"{n:,}" for n in of_pairs[:, 0]), f"{wrong:,}", f"{true:,}", share])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--partners", nargs="+", required=True, metavar="A,B", help="labels of a pair")
    args = parser.parse_args()
    partners = parse_partners(args.partners)
    try:
        endings = {formats.ending(path) for path in sorted(args.truth.glob("[!.]*"))} - {None}
        if len(endings) > 1:
            stop(f"{args.truth} holds label maps that end in {format_list(sorted(endings))}; keep one kind.")
        ending = endings.pop() if endings else ".nii.gz"
        counts = count_in_folders(args.truth, args.predictions, partners, ending=ending)
        check_labels(args.truth, partners, ending=ending)
    except InputError as error:
        stop(str(error))
    print(wrong_side_table(counts, partners))


if __name__ == "__main__":
    main()
