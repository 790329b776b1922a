"""Train on volumes of nuclei for the same minutes and compare the objects that are found in unseen volumes.

Drawn nuclei with slices 1, 2 and 5 pixels apart, 16 volumes to train on and 8 unseen ones, and the halves of a real
volume (``nuclei3d.py`` says how)::

    python benchmarks/compare_volumes.py --work /tmp/volumes --minutes 20 --threads 2 --real DATA/stardist \\
        --stardist-python ENV/bin/python

- ``IAUNet``: ids of objects, planner's defaults, ``3d_fullres``, through the stock commands; the label maps of
  ``nnUNetv2_predict`` are scored, and average precision has the scores of its ``--save_probabilities``.
- ``learned``: the same with learned queries.
- ``nnU-Net``: the foreground as a label, nnU-Net's own planner, network, loss, augmentation and SGD on a time budget;
  objects are the connected components (6 neighbours) of the predicted foreground, without specks below 8 voxels. They
  have no scores: AP takes 1 for all.
- ``StarDist``: ``stardist3d.py``, by the Python of an environment that has stardist; left out without
  ``--stardist-python``.

More methods are written ``label=trainer[:planner[:key=json,...]]``, as for ``compare_instances.py``. All train on all
training volumes (fold ``all``) but StarDist, which needs some for validation. Each result is a json below WORK; what is
finished is not repeated, what was interrupted starts again. ``WORK/table.md`` has all results with the same budget.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from compare_instances import OBJECT_PLANNERS, Commands, named, planned
from instance_data import FOREGROUND, OBJECTS, components, prepare_raw
from methods import Method, stop
from nuclei3d import draw, halve
from result_tables import SCORES, instance_table

BENCHMARKS = Path(__file__).resolve().parent
CONFIGURATION, ENDING = "3d_fullres", ".nii.gz"
STARDIST = "StarDist"
METHODS = {
    "IAUNet": Method("IAUNet", "nnUNetTrainerIAUNet", "IAUNetPlanner"),
    "learned": Method(
        "IAUNet, learned queries",
        "nnUNetTrainerIAUNet",
        "IAUNetPlanner",
        {"queries": "learned", "blocks_per_level": 3, "loss": {}},
    ),
    "nnU-Net": Method("nnU-Net + connected components", "nnUNetTrainerTimed"),
    STARDIST: Method("StarDist-3D from scratch", STARDIST, STARDIST),
}


def prepare(name: str, args: argparse.Namespace) -> argparse.Namespace:
    """Draw or cut the volumes of one data set and make nnU-Net's of them, once; its own arguments."""
    work = args.work / name
    finished = work / "source.done"
    if not finished.is_file():
        shutil.rmtree(work, ignore_errors=True)
        made = halve(work / "source", args.real) if name == "real" else draw(work / "source", int(name.split("_")[1]))
        finished.write_text(str(made))
    own = argparse.Namespace(**vars(args))
    own.work, own.test, own.steps = work, int(finished.read_text()), 0
    own.images, own.masks = work / "source" / "images", work / "source" / "masks"
    prepare_raw(own)
    return own


def run_one(method: Method, args: argparse.Namespace, budget: dict) -> None:
    """Train, predict, compare; leaves ``results/<key>.json`` in the data set's folder."""
    commands = Commands(args, CONFIGURATION)
    plans = {} if method.trainer == STARDIST else planned(method, commands)
    key = method.key(budget, plans["configurations"][CONFIGURATION] if plans else {})
    result, output = args.work / "results" / f"{key}.json", args.work / "predictions" / key
    if result.is_file():
        print(f"{method.label}: already done ({result})", flush=True)
        return
    print(f"{budget['data']}: {method.label}", flush=True)
    shutil.rmtree(output, ignore_errors=True)
    if method.trainer == STARDIST:
        record = run_stardist(args, budget, key, output)
    else:
        record = run_nnunet(method, commands, budget, plans=plans, key=key, output=output)
    record |= {"label": method.label, "trainer": method.trainer, "planner": method.planner}
    record |= {"overrides": method.overrides, "budget": budget, "finished": time.time()}
    record["scores"] = score(args.work, output, plans)
    result.parent.mkdir(exist_ok=True)
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2))
    partial.replace(result)


def run_nnunet(
    method: Method, commands: Commands, budget: dict, *, plans: dict, key: str, output: Path
) -> dict[str, Any]:
    """Through the stock commands; ``output`` gets objects as label maps, and with scores where they have any."""
    finds_objects = method.planner in OBJECT_PLANNERS
    number, data_set = OBJECTS if finds_objects else FOREGROUND
    model = ("-p", named(plans, method, key, commands), "-tr", f"{method.trainer}_{budget['minutes']}minutes")
    device = ("-device", commands.device)
    train = (number, CONFIGURATION, "all", *model, *device)
    trained = commands.run(f"train_{key}", "nnUNetv2_train", *train, seed=budget["seed"])
    images = commands.work / "nnUNet_raw" / data_set / "imagesTs"
    folder = output if finds_objects else output / "foreground"
    predict = ("-i", images, "-o", folder, "-d", number, "-c", CONFIGURATION, "-f", "all", *model)
    options = ("--save_probabilities",) if finds_objects else ()
    views = () if budget["mirroring"] else ("--disable_tta",)
    predicted = commands.run(
        f"predict_{key}", "nnUNetv2_predict", *predict, *options, *views, "-npp", 1, "-nps", 1, *device
    )
    if not finds_objects:
        components(folder, output, ENDING)
    names = ("parameters", "multiply_adds", "seconds_per_step", "iterations")
    record = {name: trained[name] for name in names}
    return record | {
        "training_seconds": trained["seconds"],
        "seconds_per_image": predicted["seconds"] / predicted["images"],
    }


def run_stardist(args: argparse.Namespace, budget: dict, key: str, output: Path) -> dict[str, Any]:
    """``stardist3d.py`` on the same volumes, by another Python."""
    data, raw = args.work / "stardist", args.work / "nnUNet_raw" / OBJECTS[1]
    if not (data / "done").is_file():
        for part, folder in (("Tr", "train"), ("Ts", "test")):
            (data / folder).mkdir(parents=True, exist_ok=True)
            for path in sorted((raw / f"images{part}").iterdir()):
                name = path.name.removesuffix(f"_0000{ENDING}")
                arrays = {"image": array(path)}
                if part == "Tr":
                    arrays["ids"] = array(raw / "labelsTr" / f"{name}{ENDING}")
                np.savez_compressed(data / folder / f"{name}.npz", **arrays)
        (data / "done").touch()
    log = args.work / "logs" / f"train_{key}.log"
    words = [args.stardist_python, BENCHMARKS / "stardist3d.py", data, output, "--minutes", budget["minutes"]]
    words += ["--threads", budget["threads"], "--seed", budget["seed"]]
    print(f"  stardist3d.py ... (log: {log})", flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("w") as file:
        done = subprocess.run(
            list(map(str, words)), stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if done.returncode:
        stop(f"stardist3d.py ended with {done.returncode}: {log.read_text()[-2000:]}")
    told = json.loads((output / "record.json").read_text())
    return {
        "parameters": told["parameters"],
        "multiply_adds": None,
        "seconds_per_step": told["seconds"] / max(told["iterations"], 1),
        "iterations": told["iterations"],
        "training_seconds": told["seconds"],
        "seconds_per_image": told["prediction_seconds"] / told["images"],
        "thresholds": told["thresholds"],
    }


def score(work: Path, output: Path, plans: dict) -> dict[str, float]:
    """Scores of the objects in ``output`` in the unseen volumes, counted in 3D."""
    from maskmed_nnu.instances.detections import unpack
    from maskmed_nnu.instances.metrics.comparison import compare
    from maskmed_nnu.instances.metrics.instance_metrics import InstanceMetrics

    metrics = InstanceMetrics()
    forward = plans.get("transpose_forward", [0, 1, 2])
    for path in sorted((work / "nnUNet_raw" / OBJECTS[1] / "labelsTs").iterdir()):
        name = path.name.removesuffix(ENDING)
        truth, ignored = array(path).astype(np.int32), work / "source" / "ignored" / path.name
        crowd = np.zeros(len(np.unique(truth[truth > 0])), bool)
        if ignored.is_file():
            truth[array(ignored) > 0] = truth.max() + 1
            crowd = np.append(crowd, True)
        kept = np.load(output / f"{name}.npz") if (output / f"{name}.npz").is_file() else {}
        if "scores" in kept:
            metrics.update(of_ids(kept["ids"], kept["scores"]), of_ids(truth), crowd=crowd)
            continue
        comparison = compare(of_ids(array(output / path.name)), of_ids(truth), crowd=crowd)
        for metric in metrics.counted:
            metric.add(comparison)
        if "detections" in kept:  # on the axes of the plans
            (found,) = unpack(kept["detections"])
            comparison = compare(found, of_ids(truth.transpose(forward)), crowd=crowd)
        for metric in metrics.ranked:
            metric.add(comparison)
    scores = metrics.compute()
    return {name: float(scores[name]) for name in SCORES}


def of_ids(ids: np.ndarray, scores: np.ndarray | None = None) -> Any:
    """Detections of class 1; ``scores`` are those of ids 1, 2 and so on."""
    from maskmed_nnu.instances.detections import from_instance_map

    numbers, dense = np.unique(ids, return_inverse=True)
    dense = dense.reshape(ids.shape) + (numbers[0] > 0)
    numbers = numbers[numbers > 0]
    found = from_instance_map(dense[None].astype(np.int32), np.ones(len(numbers), np.int64))
    return found if scores is None else replace(found, scores=scores[numbers - 1].astype(np.float32))


def array(path: Path) -> np.ndarray:
    """A volume [z, y, x] of NIfTI."""
    return np.asarray(nibabel.load(path).dataobj).T


def tables(args: argparse.Namespace, budget: dict, names: list[str]) -> str:
    """A table for each data set."""
    parts = []
    for name in names:
        if (args.work / name / "results").is_dir():
            parts.append(f"**{name}**\n\n{instance_table(args.work / name, {**budget, 'data': name})}")
    return "\n".join(parts)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--anisotropy", nargs="*", type=int, default=[1, 2, 5], help="distances of slices of the drawn volumes")
    add("--real", type=Path, help="folder with img3d.tif and mask3d.tif of StarDist's example")
    add("--methods", nargs="+", default=["IAUNet", "nnU-Net", STARDIST], metavar="METHOD")
    add("--minutes", type=int, default=20, help="of training for each method")
    add("--seeds", nargs="+", type=int, default=[0], help="each method is trained once with each")
    add("--mirroring", action=argparse.BooleanOptionalAction, default=True, help="predict the mean of mirrored views")
    add("--threads", type=int, default=2, help="threads on the CPU")
    add("--workers", type=int, default=0, help="augmentation processes beside them")
    add("--device", default="cpu", choices=("cpu", "cuda"))
    add("--stardist-python", type=Path, help="a Python that has stardist and tensorflow")
    args = parser.parse_args()
    args.methods = [METHODS.get(text) or Method.parse(text) for text in args.methods]
    if args.stardist_python is None and any(method.trainer == STARDIST for method in args.methods):
        print("StarDist is left out: --stardist-python names no Python that has it", flush=True)
        args.methods = [method for method in args.methods if method.trainer != STARDIST]
    args.work = args.work.resolve()
    return args


def main() -> None:
    args = parse_arguments()
    names = [f"anisotropy_{n}" for n in args.anisotropy] + (["real"] if args.real else [])
    data_sets = {name: prepare(name, args) for name in names}
    budget = {name: getattr(args, name) for name in ("minutes", "threads", "workers", "device", "mirroring")}
    for seed in args.seeds:
        for name, own in data_sets.items():
            for method in args.methods:
                run_one(method, own, {**budget, "data": name, "seed": seed})
                (args.work / "table.md").write_text(tables(args, budget, names))
    print("\n" + tables(args, budget, names))


if __name__ == "__main__":
    sys.exit(main())
