"""Train on images of objects for the same minutes and compare the detections in unseen images.

Every method goes through the commands (plan_and_preprocess, train, predict) on all training images (fold ``all``),
with the same wall time in minutes, threads and augmentation processes::

    python benchmarks/compare_instances.py --images DATA/dsb2018/images --masks DATA/dsb2018/masks \\
        --work /tmp/objects --test 40 --minutes 12 --threads 2

- ``IAUNet``: ids of objects, planner's defaults, predicted by ``maskmed predict``: the label files of
  ``nnUNetv2_predict``, and the scores that average precision asks for.
- ``MaskAttn-UNet``: the same with embeddings and their clustering.
- ``nnU-Net``: the foreground as a label, nnU-Net's own planner, network, loss, augmentation and SGD on a time budget;
  objects are the connected components (4 neighbours) of the predicted foreground, without specks below 8 pixels. They
  have no scores: AP takes 1 for all.
- ``published``: the structure, loss and learning rate of IAUNet as published, without pretrained weights, on the same
  plan and with the same augmentation.

More methods are written ``label=trainer[:planner[:key=json,...]]``; the keys go into the plan's ``arch_kwargs``,
with the prefix ``loss.`` into ``instance_loss`` (``loss={...}`` replaces it), with ``instances.`` into ``instances``. A
method that is finished is not trained again; one that was interrupted starts again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from instance_data import FOREGROUND, OBJECTS, components, prepare_raw
from methods import Method, stop
from published_iaunet import PUBLISHED
from result_tables import SCORES, instance_table
from stock_command import EPOCHS

BENCHMARKS = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCHMARKS.parent))
OBJECT_PLANNERS = ("IAUNetPlanner", "MaskAttnUNetPlanner", "MaskAttnUNetPlannerLowRes")


# ------------------------------------------------------------------------------------------------ methods
def parse_method(text: str) -> Method:
    """A name from the docstring, or ``label=trainer[:planner[:key=json,...]]``."""
    if text == "IAUNet":
        return Method("IAUNet", "nnUNetTrainerIAUNet", "IAUNetPlanner")
    if text == "MaskAttn-UNet":
        return Method("MaskAttn-UNet", "nnUNetTrainerMaskAttnUNetInstance", "MaskAttnUNetPlanner")
    if text == "nnU-Net":
        return Method("nnU-Net 2d + connected components", "nnUNetTrainerTimed")
    if text == "published":
        encoder = published_encoder()
        label = f"IAUNet as published, {encoder.get('backbone', 'encoder of nnU-Net')}"
        return Method(label, "nnUNetTrainerIAUNetPublished", "IAUNetPlanner", PUBLISHED | encoder)
    return Method.parse(text)


def published_encoder() -> dict:
    try:
        importlib.import_module("timm")
    except (ImportError, RuntimeError):
        return {"features_per_stage": [32, 64, 128, 256, 512, 512]}
    return {"backbone": "resnet50"}


# --------------------------------------------------------------------------------------------------- commands
class Commands:
    """The installed commands in WORK, each with its log; ``configuration`` is that of the plans."""

    def __init__(self, args: argparse.Namespace, configuration: str = "2d") -> None:
        self.configuration = configuration
        self.work, self.device, self.threads, self.steps = args.work, args.device, args.threads, args.steps
        self.environment = {
            **os.environ,
            **{name: str(args.work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")},
            "nnUNet_compile": "f",
            "nnUNet_def_n_proc": str(args.threads),
            "nnUNet_n_proc_DA": str(args.workers),
            "OMP_NUM_THREADS": str(args.threads),
        }
        for folder in ("nnUNet_preprocessed", "nnUNet_results", "logs"):
            (args.work / folder).mkdir(parents=True, exist_ok=True)

    def run(self, name: str, command: str, *arguments: object, seed: int = 0, **environment: str) -> dict:
        """What ``stock_command.py`` recorded; the output goes to ``WORK/logs/<name>.log``."""
        log, record = self.work / "logs" / f"{name}.log", self.work / "logs" / f"{name}.json"
        record.unlink(missing_ok=True)
        words = [self.threads, seed, self.steps or 0, record, command, *arguments]
        print(f"  {command} ... (log: {log})", flush=True)
        with log.open("w") as output:
            done = subprocess.run(
                [sys.executable, str(BENCHMARKS / "stock_command.py"), *map(str, words)],
                env=self.environment | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            stop(f"{command} ended with {done.returncode}: {log.read_text()[-2000:]}")
        return json.loads(record.read_text()) if record.is_file() else {}


def planned(method: Method, commands: Commands) -> dict:
    """The planner's plans of the method's data set, which is preprocessed by them."""
    number, data_set = OBJECTS if method.planner in OBJECT_PLANNERS else FOREGROUND
    name = method.planner.replace("Planner", "") + "Plans"
    folder = commands.work / "nnUNet_preprocessed" / data_set
    finished = folder / f"{name}.done"
    if not finished.is_file():
        command = ("-d", number, "-pl", method.planner, "-overwrite_plans_name", name, "-c", commands.configuration)
        processes = ("-np", commands.threads, "-npfp", commands.threads)
        # a planner limits torch to this number of threads, and 0 is not a legal number of threads
        commands.run(f"plan_{name}", "nnUNetv2_plan_and_preprocess", *command, *processes, nnUNet_n_proc_DA="1")
        finished.touch()
    return json.loads((folder / f"{name}.json").read_text())


def named(plans: dict, method: Method, key: str, commands: Commands) -> str:
    """The name of plans with the method's overrides: the planner's, or a copy that shares its arrays."""
    if not method.overrides:
        return plans["plans_name"]
    plans["plans_name"] = key
    configuration = plans["configurations"][commands.configuration]
    for setting, value in method.overrides.items():
        if setting == "loss":
            configuration["instance_loss"] = value
        elif setting.startswith("loss."):
            configuration["instance_loss"][setting.removeprefix("loss.")] = value
        elif setting.startswith("instances."):
            configuration["instances"][setting.removeprefix("instances.")] = value
        else:
            configuration["architecture"]["arch_kwargs"][setting] = value
    kwargs = configuration["architecture"]["arch_kwargs"]
    # plans of small images have fewer scales
    kwargs["features_per_stage"] = kwargs["features_per_stage"][: kwargs["n_stages"]]
    folder = commands.work / "nnUNet_preprocessed" / plans["dataset_name"]
    (folder / f"{key}.json").write_text(json.dumps(plans, indent=2))
    return key


def run_one(method: Method, commands: Commands, budget: dict) -> None:
    """Train, predict, compare; leaves ``WORK/results/<key>.json``."""
    from maskmed_nnu.instances.metrics.coco_results import CocoResults
    from maskmed_nnu.instances.metrics.evaluation import evaluate

    plans = planned(method, commands)
    key = method.key(budget, plans["configurations"]["2d"])
    result, output = commands.work / "results" / f"{key}.json", commands.work / "predictions" / key
    if result.is_file():
        print(f"{method.label}: already done ({result})", flush=True)
        return
    print(method.label, flush=True)
    shutil.rmtree(output, ignore_errors=True)
    predicts_instances = method.planner in OBJECT_PLANNERS
    number, data_set = OBJECTS if predicts_instances else FOREGROUND
    length = f"_{budget['minutes']}minutes" if "minutes" in budget else ""
    model = ("-p", named(plans, method, key, commands), "-tr", method.trainer + length)
    device = ("-device", commands.device)
    train = (number, "2d", "all", *model, *device)
    trained = commands.run(f"train_{key}", "nnUNetv2_train", *train, seed=budget["seed"])
    images = commands.work / "nnUNet_raw" / data_set / "imagesTs"
    truth = commands.work / "nnUNet_raw" / OBJECTS[1]
    description = json.loads((truth / "dataset.json").read_text())
    predict = ("-i", images, "-o", output, "-d", number, "-f", "all", *model)
    if predicts_instances:
        views = () if budget["mirroring"] else ("--no-mirroring",)
        command = ("predict", *predict, *views, "--no-overlays", "--device", commands.device)
        predicted = commands.run(f"predict_{key}", "maskmed", *command)
        predictions, results = output, CocoResults(output / "predictions_coco.json")
    else:
        views = () if budget["mirroring"] else ("--disable_tta",)
        command = (*predict, *views, "-c", "2d", "-npp", 1, "-nps", 1, *device)
        predicted = commands.run(f"predict_{key}", "nnUNetv2_predict", *command)
        predictions, results = output / "objects", None
        components(output, predictions, description["file_ending"])
    scores, count, _ = evaluate(truth / "labelsTs", predictions, dataset_json=description, results=results)
    record = {
        "label": method.label,
        "trainer": method.trainer,
        "planner": method.planner,
        "overrides": method.overrides,
        "budget": budget,
        "images": count,
        "scores": {name: float(scores[name]) for name in SCORES},
        "parameters": trained["parameters"],
        "multiply_adds": trained["multiply_adds"],
        "seconds_per_step": trained["seconds_per_step"],
        "iterations": trained["iterations"],
        "training_seconds": trained["seconds"],
        "seconds_per_image": predicted["seconds"] / predicted["images"],
        "finished": time.time(),
    }
    result.parent.mkdir(exist_ok=True)
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2))
    partial.replace(result)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="folder of images")
    add("--masks", type=Path, required=True, help="folder of label maps of the same names")
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--methods", nargs="+", type=parse_method, default=["IAUNet", "nnU-Net"], metavar="METHOD")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=int, default=12, help="of training for each method")
    length.add_argument("--steps", type=int, help="training steps for each method, in place of minutes")
    add("--seeds", nargs="+", type=int, default=[0], help="each method is trained once with each")
    add("--mirroring", action=argparse.BooleanOptionalAction, default=True, help="predict the mean of mirrored views")
    add("--test", type=int, default=40, help="the last images by name, which are not trained on")
    add("--threads", type=int, default=2, help="torch threads on the CPU")
    add("--workers", type=int, default=0, help="augmentation processes beside them")
    add("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    if args.steps is not None and (args.steps < EPOCHS or args.steps % EPOCHS):
        stop(f"--steps {args.steps} is not a multiple of {EPOCHS}, the number of epochs.")
    args.methods = [parse_method(c) if isinstance(c, str) else c for c in args.methods]
    args.images, args.masks, args.work = args.images.resolve(), args.masks.resolve(), args.work.resolve()
    return args


def main() -> None:
    args = parse_arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    prepare_raw(args)
    length = "steps" if args.steps else "minutes"
    budget = {name: getattr(args, name) for name in (length, "threads", "workers", "device", "test", "mirroring")}
    commands = Commands(args)
    # seed by seed, so that every method has a first result early
    for seed in args.seeds:
        for method in args.methods:
            run_one(method, commands, {**budget, "seed": seed})
            (args.work / "table.md").write_text(instance_table(args.work, budget))
    print("\n" + instance_table(args.work, budget))


if __name__ == "__main__":
    main()
