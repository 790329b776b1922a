"""Train several nnU-Net trainers on one data set at the same budget and compare them on unseen cases.

Every method sees the same training cases, patch (of the plan of ``--reference``), batch and number of steps, and
is scored on the last cases of the data set (a contiguous block of ids, because neighbouring ids may be two sides of one
person), without mirrored views unless ``--views`` asks for them. A run is resumable: each (method, seed) leaves one
JSON in ``WORK/results``; what is there is not trained again, and methods can be added later.

A method is ``label=trainer[:planner[:key=json,...]]``. The overrides go into the plans' ``arch_kwargs``; with the
prefix ``loss.`` into the configuration's ``set_loss``, with ``mirroring.`` into its ``mirroring``; with ``trainer.``
they become attributes of the trainer::

    python benchmarks/compare_trainers.py --data DATA/Dataset004_Hippocampus --work /tmp/compare \\
        --methods "nnUNet SGD=nnUNetTrainer" "nnUNet AdamW 1e-3=benchmark:adamw" \\
        "MaskMed=nnUNetTrainerMaskMed:MaskMedPlanner" \\
        "MaskMed, no FSAD=nnUNetTrainerMaskMed:MaskMedPlanner:fsad=null,trainer.initial_lr=5e-4"

``--partners 1,2 3,4`` names the labels of left and right partners: how many of their voxels are found on the other side
is recorded, too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from methods import STOCK_PLANNER, Method, check_trainer, find_trainer, multiply_adds, stop
from result_tables import trainer_table
from shared_data import Plans, prepare_raw
from wrong_side import check_labels, count_in_folders, parse_partners, summary

REPOSITORY = Path(__file__).resolve().parents[1]
SECTIONS = {"loss": "set_loss", "mirroring": "mirroring"}
"""Prefixes of overrides, and the sections of a configuration that they change."""


# -------------------------------------------------------------------------------------------------- one run
def silent_trainer(base: type) -> type:
    """The trainer with its own run loop, one line per epoch, and no file but the log and the final weights."""

    class Silent(base):
        def print_to_log_file(self, *args, also_print_to_console=True, add_timestamp=True):
            super().print_to_log_file(*args, also_print_to_console=False, add_timestamp=add_timestamp)

        def plot_network_architecture(self):
            pass

        def save_checkpoint(self, filename):
            if filename.endswith("checkpoint_final.pth"):
                super().save_checkpoint(filename)

        def on_train_start(self):
            super().on_train_start()
            self.logger.plot_progress_png = lambda *_: None
            self.step_seconds, self.started = [], time.monotonic()

        def train_step(self, batch):
            begin = time.perf_counter()
            result = super().train_step(batch)
            self.step_seconds.append(time.perf_counter() - begin)
            if len(self.step_seconds) == 10:
                self.report("loss", float(result["loss"]))
            return result

        def on_train_epoch_end(self, train_outputs):
            super().on_train_epoch_end(train_outputs)
            self.report("mean loss", self.logger.get_value("train_losses", step=-1))

        def report(self, what, loss):
            done, passed = len(self.step_seconds), time.monotonic() - self.started
            total = self.num_epochs * self.num_iterations_per_epoch
            print(
                f"  epoch {self.current_epoch + 1}/{self.num_epochs} step {done}/{total}  {what} {loss:.4f}  "
                f"{passed / done:.2f} s/step  {passed:.0f} s passed, {passed / done * (total - done):.0f} s to go",
                flush=True,
            )

    Silent.__name__ = Silent.__qualname__ = base.__name__
    return Silent


def build_trainer(method: Method, seed: int, plans: Plans, args: argparse.Namespace, plans_name: str) -> Any:
    """A trainer on its own copy of the plans, with patch, batch and schedule forced to the common budget."""
    import numpy as np
    import torch

    mine = plans.get(method.planner)
    configuration = mine["configurations"][args.configuration]
    configuration["patch_size"] = plans.common["configurations"][args.configuration]["patch_size"]
    configuration["batch_size"] = args.batch_size
    mine |= {"plans_name": plans_name, "continue_training": False}
    attributes = {}
    for key, value in method.overrides.items():
        prefix, dot, name = key.partition(".")
        if prefix == "trainer" and dot:
            attributes[name] = value
        elif prefix in SECTIONS and dot:
            configuration.setdefault(SECTIONS[prefix], {})[name] = value
        else:
            configuration["architecture"]["arch_kwargs"][key] = value
    description = json.loads((args.work / "nnUNet_raw" / args.data.name / "dataset.json").read_text())
    for seeder in (random.seed, np.random.seed, torch.manual_seed):
        seeder(seed)
    trainer_class = silent_trainer(find_trainer(method.trainer))
    trainer = trainer_class(mine, args.configuration, "all", description, torch.device(args.device))
    trainer.num_epochs, trainer.num_iterations_per_epoch = args.epochs, args.steps // args.epochs
    trainer.num_val_iterations_per_epoch = 2
    for key, value in attributes.items():
        if not hasattr(trainer, key):
            stop(f"the trainer {method.trainer} has no attribute {key!r} (method {method.label!r}).")
        setattr(trainer, key, value)
    return trainer


Scores = dict[str, dict[str, float]]


def predict_and_score(trainer: Any, work: Path, output: Path, *, views: bool) -> tuple[Scores, Scores, float]:
    """Dice and IoU per case and class of the unseen cases, sliding window with half overlap.

    With `views`, mirrored ones too, along the axes that the trainer has mirrored.

    Also the CPU seconds per case of the sliding window alone (all threads together, without reading, resampling and
    writing), which other work on the machine does not change.
    """
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(
            tile_step_size=0.5, use_gaussian=True, use_mirroring=views, device=trainer.device, allow_tqdm=False
        )
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            [trainer.network.state_dict()],
            trainer.dataset_json,
            type(trainer).__name__,
            trainer.inference_allowed_mirroring_axes,
        )
        window, used = predictor.predict_sliding_window_return_logits, []

        def timed(image):
            begin = time.process_time()
            logits = window(image)
            used.append(time.process_time() - begin)
            return logits

        predictor.predict_sliding_window_return_logits = timed
        predictor.predict_from_files_sequential(str(work / "test" / "images"), str(output))
    labels, ending = trainer.label_manager, trainer.dataset_json["file_ending"]
    classes = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    names = {str(value): name for name, value in trainer.dataset_json["labels"].items()}
    dice, iou = {}, {}
    for truth in sorted((work / "test" / "labels").iterdir()):
        metrics = compute_metrics(
            str(truth),
            str(output / truth.name),
            trainer.plans_manager.image_reader_writer_class(),
            classes,
            labels.ignore_label,
        )["metrics"]
        case = truth.name.removesuffix(ending)
        for scores, name in ((dice, "Dice"), (iou, "IoU")):
            scores[case] = {names.get(str(c), str(c)): float(metrics[c][name]) for c in classes}
    return dice, iou, statistics.fmean(used)


def run_one(method: Method, seed: int, plans: Plans, args: argparse.Namespace, budget: dict) -> None:
    planned = plans.get(method.planner)["configurations"][args.configuration]
    key = f"{method.key(budget, planned)}_seed{seed}"
    result = args.work / "results" / f"{key}.json"
    if result.is_file() and method.label not in args.redo:
        print(f"{method.label}, seed {seed}: already done ({result})", flush=True)
        return
    print(f"{method.label}, seed {seed}", flush=True)
    trainer = build_trainer(method, seed, plans, args, key)
    os.environ["nnUNet_n_proc_DA"] = str(args.workers)
    trainer.run_training()
    predictions = args.work / "predictions" / key
    scores, ious, predicting = predict_and_score(trainer, args.work, predictions, views=args.views)
    per_class = per_class_mean(scores)
    record = {
        "label": method.label,
        "trainer": method.trainer,
        "planner": method.planner,
        "overrides": method.overrides,
        "seed": seed,
        "budget": budget,
        "mean_dice": statistics.fmean(per_class.values()),
        "dice_per_class": per_class,
        "dice_per_case": scores,
        "mean_iou": statistics.fmean(per_class_mean(ious).values()),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "multiply_adds": multiply_adds(trainer),
        "mirroring": trainer.configuration_manager.configuration.get("mirroring"),
        "seconds_per_step": statistics.median(trainer.step_seconds),
        "cpu_seconds_per_case": predicting,
        "finished": time.time(),
    }
    if args.partners:
        ending = trainer.dataset_json["file_ending"]
        counts = count_in_folders(args.work / "test" / "labels", predictions, args.partners, ending=ending)
        record["wrong_side"] = summary(counts)
    result.parent.mkdir(exist_ok=True)
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2))
    partial.replace(result)
    print(f"{method.label}, seed {seed}: mean Dice {record['mean_dice']:.4f} on {len(scores)} cases", flush=True)


# ---------------------------------------------------------------------------------------------------- table
def per_class_mean(scores: Scores) -> dict[str, float]:
    return {label: mean_of(case[label] for case in scores.values()) for label in next(iter(scores.values()))}


def mean_of(values: Any) -> float:
    """Mean without the undefined values: Dice of a class that neither truth nor prediction holds is NaN."""
    defined = [v for v in values if v == v]
    return statistics.fmean(defined) if defined else float("nan")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="an nnU-Net raw data set, FOLDER/DatasetXXX_Name")
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--methods", nargs="+", required=True, type=Method.parse, metavar="LABEL=TRAINER[:PLANNER[:KEY=JSON]]")
    add("--configuration", default="3d_fullres", choices=("2d", "3d_fullres", "3d_lowres"))
    add("--steps", type=int, default=600, help="training steps in all")
    add("--epochs", type=int, default=10, help="epochs the steps are divided into; the schedule is scaled to them")
    add("--batch-size", type=int, default=2)
    add("--reference", default=STOCK_PLANNER, metavar="PLANNER", help="whose patch all methods take")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--test-cases", type=int, default=32, help="the last cases, which are not trained on")
    add("--views", action="store_true", help="predict mirrored views too, along the axes that each method mirrors")
    add("--partners", nargs="+", default=[], metavar="A,B", help="labels that are left and right partners")
    add("--device", default="cpu", help="cpu or cuda")
    add("--threads", type=int, default=2, help="torch threads on the CPU")
    add("--workers", type=int, default=0, help="augmentation processes; only 0 repeats a run exactly")
    add("--redo", nargs="*", default=[], metavar="LABEL", help="train these methods again")
    args = parser.parse_args()
    if args.steps % args.epochs:
        stop(f"--steps {args.steps} is not a multiple of --epochs {args.epochs}.")
    if not re.fullmatch(r"Dataset\d{3}_.+", args.data.resolve().name) or not (args.data / "dataset.json").is_file():
        stop(f"--data {args.data} is not an nnU-Net raw data set (a folder DatasetXXX_Name with a dataset.json).")
    args.data, args.work = args.data.resolve(), args.work.resolve()
    args.partners = parse_partners(args.partners)
    return args


def main() -> None:
    args = parse_arguments()
    # read by nnU-Net when it is imported, here and in every process that it starts
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (args.work / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(args.work / name)
    os.environ.setdefault("nnUNet_compile", "f")
    sys.path.insert(0, str(REPOSITORY))
    import torch

    budget = {
        "data": args.data.name,
        "configuration": args.configuration,
        "steps": args.steps,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "test_cases": args.test_cases,
        "device": args.device,
    }
    if args.reference != STOCK_PLANNER:
        budget["patch_of"] = args.reference
    if args.views:
        budget["views"] = "mirrored"
    if args.partners:
        budget["partners"] = " ".join(f"{first},{second}" for first, second in args.partners)
    prepare_raw(args.data, args.work, args.test_cases)
    if args.partners:
        ending = json.loads((args.data / "dataset.json").read_text())["file_ending"]
        check_labels(args.work / "test" / "labels", args.partners, ending=ending)
    for method in args.methods:
        check_trainer(method)
    plans = Plans(args.data, args.work, args.configuration, args.reference)
    torch.set_num_threads(args.threads)
    # seed by seed, so that every method has a first result early
    for seed in args.seeds:
        for method in args.methods:
            plans.get(method.planner)
            torch.set_num_threads(args.threads)
            run_one(method, seed, plans, args, budget)
            (args.work / "table.md").write_text(trainer_table(args.work, budget))
    print("\n" + trainer_table(args.work, budget))


if __name__ == "__main__":
    main()
