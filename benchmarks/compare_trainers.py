"""Train several nnU-Net trainers on one data set at the same budget and compare them on unseen cases.

Every contestant sees the same training cases, patch (of the plan of ``--reference``), batch and number of steps, and
is scored on the last cases of the data set (a contiguous block of ids, because neighbouring ids may be two sides of one
person) without mirroring. A run is resumable: each (contestant, seed) leaves one JSON in ``WORK/results``; what is
there is not trained again, and contestants can be added later.

A contestant is ``label=trainer[:planner[:key=json,...]]``. The overrides go into the plans' ``arch_kwargs``; with
the prefix ``loss.`` into the configuration's ``set_loss``; with ``trainer.`` they become attributes of the trainer::

    python benchmarks/compare_trainers.py --data DATA/Dataset004_Hippocampus --work /tmp/compare \\
        --contestants "nnUNet SGD=nnUNetTrainer" "nnUNet AdamW 1e-3=benchmark:adamw" \\
        "MaskMed=nnUNetTrainerMaskMed:MaskMedPlanner" \\
        "MaskMed, no FSAD=nnUNetTrainerMaskMed:MaskMedPlanner:fsad=null,trainer.initial_lr=5e-4"
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
from copy import deepcopy
from pathlib import Path
from typing import Any

from contestants import STOCK_PLANNER, Contestant, find_planner, find_trainer, multiply_adds, stop

REPOSITORY = Path(__file__).resolve().parents[1]
SAME_ARRAYS = {"MaskMedPreprocessor": "DefaultPreprocessor"}
"""Preprocessors that only add checks to another one: their output is shared."""


# ------------------------------------------------------------------------------------------------------ data
def split_cases(cases: list[str], test_cases: int) -> tuple[list[str], list[str]]:
    """Sorted ids → (train, test): the last block is unseen, and the id right before it is left out of both."""
    cases = sorted(cases)
    if not 0 < test_cases < len(cases) - 1:
        stop(f"--test-cases is {test_cases}, but the data set has {len(cases)} cases; leave at least two to train on.")
    train, test = cases[:-test_cases], cases[-test_cases:]
    numbers = [re.search(r"(\d+)$", case) for case in (train[-1], test[0])]
    if all(numbers) and int(numbers[1].group(1)) - int(numbers[0].group(1)) == 1:
        train = train[:-1]
    return train, test


def prepare_raw(data: Path, work: Path, test_cases: int) -> None:
    """Link the training cases into WORK/nnUNet_raw and the unseen ones into WORK/test; once."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    stamp = work / "split.json"
    wanted = {"data": str(data.resolve()), "test_cases": test_cases}
    if stamp.is_file():
        have = {k: v for k, v in json.loads(stamp.read_text()).items() if k in wanted}
        if have != wanted:
            stop(f"{work} was made for {have}, not for {wanted}; choose another --work.")
        return
    description = json.loads((data / "dataset.json").read_text())
    files = get_filenames_of_train_images_and_targets(str(data), description)
    train, test = split_cases(list(files), test_cases)
    ending = description["file_ending"]
    for root, images, labels, chosen in (
        (work / "nnUNet_raw" / data.name, "imagesTr", "labelsTr", train),
        (work / "test", "images", "labels", test),
    ):
        for folder in (images, labels):
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir(parents=True)
        for case in chosen:
            for channel, image in enumerate(files[case]["images"]):
                (root / images / f"{case}_{channel:04d}{ending}").symlink_to(Path(image).resolve())
            (root / labels / f"{case}{ending}").symlink_to(Path(files[case]["label"]).resolve())
    description = {k: v for k, v in description.items() if k != "dataset"} | {"numTraining": len(train)}
    (work / "nnUNet_raw" / data.name / "dataset.json").write_text(json.dumps(description, indent=2))
    stamp.write_text(json.dumps(wanted | {"train": train, "test": test}, indent=2))


class Plans:
    """Plans of each planner, and preprocessed data shared between all that preprocess alike."""

    def __init__(self, data: Path, work: Path, configuration: str, reference: str) -> None:
        self.name, self.configuration = data.name, configuration
        self.id = int(self.name[7:10])
        self.preprocessed = work / "nnUNet_preprocessed" / self.name
        self.made: dict[str, dict] = {}
        self.reference = reference
        self.common = self.get(reference)

    def get(self, planner: str) -> dict:
        """The planner's plans; its configuration points at preprocessed data that exists."""
        if planner not in self.made:
            from nnunetv2.experiment_planning import plan_and_preprocess_api as api

            # a planner limits torch to this number of threads, and 0 is not a legal number of threads
            os.environ["nnUNet_n_proc_DA"] = "1"
            if not (self.preprocessed / "dataset_fingerprint.json").is_file():
                api.extract_fingerprint_dataset(self.id, num_processes=os.cpu_count(), verbose=False)
            # planned anew each time: it takes a second, and the planner may have changed
            with contextlib.redirect_stdout(io.StringIO()):
                plans, identifier = api.plan_experiment_dataset(self.id, find_planner(planner))
            plans = json.loads(json.dumps(plans))
            if self.configuration not in plans["configurations"]:
                legal = ", ".join(plans["configurations"])
                stop(f"the plans of {planner} have no configuration {self.configuration!r}; they have {legal}.")
            self.made[planner] = plans
            print(f"planned with {planner}", flush=True)
            self._share_or_preprocess(plans, identifier)
        return deepcopy(self.made[planner])

    def _share_or_preprocess(self, plans: dict, identifier: str) -> None:
        from nnunetv2.experiment_planning import plan_and_preprocess_api as api

        mine = plans["configurations"][self.configuration]
        reference = self.made[self.reference]
        if self._recipe(plans) == self._recipe(reference):
            shared = reference["configurations"][self.configuration]
            mine |= {k: shared[k] for k in ("data_identifier", "preprocessor_name")}
        finished = self.preprocessed / f"{mine['data_identifier']}.done"
        if not finished.is_file():
            api.preprocess_dataset(self.id, identifier, (self.configuration,), (os.cpu_count(),))
            finished.touch()

    def _recipe(self, plans: dict) -> dict:
        mine = plans["configurations"][self.configuration]
        same = ("spacing", "normalization_schemes", "use_mask_for_norm")
        recipe = {k: v for k, v in mine.items() if k in same or k.startswith("resampling_fn")}
        recipe["preprocessor_name"] = SAME_ARRAYS.get(mine["preprocessor_name"], mine["preprocessor_name"])
        return recipe | {"transpose": plans["transpose_forward"], "reader": plans["image_reader_writer"]}


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


def build_trainer(contestant: Contestant, seed: int, plans: Plans, args: argparse.Namespace, name: str) -> Any:
    """A trainer on its own copy of the plans, with patch, batch and schedule forced to the common budget."""
    import numpy as np
    import torch

    mine = plans.get(contestant.planner)
    configuration = mine["configurations"][args.configuration]
    configuration["patch_size"] = plans.common["configurations"][args.configuration]["patch_size"]
    configuration["batch_size"] = args.batch_size
    mine |= {"plans_name": name, "continue_training": False}
    attributes = {}
    for key, value in contestant.overrides.items():
        if key.startswith("trainer."):
            attributes[key.removeprefix("trainer.")] = value
        elif key.startswith("loss."):
            configuration.setdefault("set_loss", {})[key.removeprefix("loss.")] = value
        else:
            configuration["architecture"]["arch_kwargs"][key] = value
    description = json.loads((args.work / "nnUNet_raw" / args.data.name / "dataset.json").read_text())
    for seeder in (random.seed, np.random.seed, torch.manual_seed):
        seeder(seed)
    trainer_class = silent_trainer(find_trainer(contestant.trainer))
    trainer = trainer_class(mine, args.configuration, "all", description, torch.device(args.device))
    trainer.num_epochs, trainer.num_iterations_per_epoch = args.epochs, args.steps // args.epochs
    trainer.num_val_iterations_per_epoch = 2
    for key, value in attributes.items():
        if not hasattr(trainer, key):
            stop(f"the trainer {contestant.trainer} has no attribute {key!r} (contestant {contestant.label!r}).")
        setattr(trainer, key, value)
    return trainer


Scores = dict[str, dict[str, float]]


def predict_and_score(trainer: Any, work: Path, output: Path) -> tuple[Scores, Scores, float]:
    """Dice and IoU per case and class of the unseen cases, sliding window with half overlap, no mirroring.

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
            tile_step_size=0.5, use_gaussian=True, use_mirroring=False, device=trainer.device, allow_tqdm=False
        )
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            [trainer.network.state_dict()],
            trainer.dataset_json,
            type(trainer).__name__,
            None,
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


def run_one(contestant: Contestant, seed: int, plans: Plans, args: argparse.Namespace, budget: dict) -> None:
    key = f"{contestant.key(budget)}_seed{seed}"
    result = args.work / "results" / f"{key}.json"
    if result.is_file() and contestant.label not in args.redo:
        print(f"{contestant.label}, seed {seed}: already done ({result})", flush=True)
        return
    print(f"{contestant.label}, seed {seed}", flush=True)
    trainer = build_trainer(contestant, seed, plans, args, key)
    os.environ["nnUNet_n_proc_DA"] = str(args.workers)
    trainer.run_training()
    scores, ious, predicting = predict_and_score(trainer, args.work, args.work / "predictions" / key)
    per_class = per_class_mean(scores)
    record = {
        "label": contestant.label,
        "trainer": contestant.trainer,
        "planner": contestant.planner,
        "overrides": contestant.overrides,
        "seed": seed,
        "budget": budget,
        "mean_dice": statistics.fmean(per_class.values()),
        "dice_per_class": per_class,
        "dice_per_case": scores,
        "mean_iou": statistics.fmean(per_class_mean(ious).values()),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "multiply_adds": multiply_adds(trainer),
        "seconds_per_step": statistics.median(trainer.step_seconds),
        "cpu_seconds_per_case": predicting,
        "finished": time.time(),
    }
    result.parent.mkdir(exist_ok=True)
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2))
    partial.replace(result)
    print(f"{contestant.label}, seed {seed}: mean Dice {record['mean_dice']:.4f} on {len(scores)} cases", flush=True)


# ---------------------------------------------------------------------------------------------------- table
def per_class_mean(scores: Scores) -> dict[str, float]:
    return {label: mean_of(case[label] for case in scores.values()) for label in next(iter(scores.values()))}


def mean_of(values: Any) -> float:
    """Mean without the undefined values: Dice of a class that neither truth nor prediction holds is NaN."""
    defined = [v for v in values if v == v]
    return statistics.fmean(defined) if defined else float("nan")


def table(work: Path, budget: dict) -> str:
    """All results in WORK with this budget as markdown, the best mean first; GMAC are 1e9 multiply-adds of a patch."""
    records = [json.loads(path.read_text()) for path in sorted((work / "results").glob("*.json"))]
    records = [r for r in records if r["budget"] == budget]
    if not records:
        return "no results yet"
    groups: dict[str, list[dict]] = {}
    for r in sorted(records, key=lambda r: r["seed"]):
        groups.setdefault(json.dumps([r["label"], r["trainer"], r["planner"], r["overrides"]]), []).append(r)
    classes = list(records[0]["dice_per_class"])
    head = ["contestant", "mean Dice", "each seed", *classes, "parameters", "GMAC", "s per step", "CPU s per case"]
    rows = [
        (
            statistics.fmean(r["mean_dice"] for r in group),
            [
                group[0]["label"],
                f"{statistics.fmean(r['mean_dice'] for r in group):.4f}",
                ", ".join(f"{r['mean_dice']:.4f}" for r in group),
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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="an nnU-Net raw data set, FOLDER/DatasetXXX_Name")
    add("--work", type=Path, required=True, help="where data, weights, predictions and results are kept")
    add("--contestants", nargs="+", required=True, type=Contestant.parse, metavar="LABEL=TRAINER[:PLANNER[:KEY=JSON]]")
    add("--configuration", default="3d_fullres", choices=("2d", "3d_fullres", "3d_lowres"))
    add("--steps", type=int, default=600, help="training steps in all")
    add("--epochs", type=int, default=10, help="epochs the steps are divided into; the schedule is scaled to them")
    add("--batch-size", type=int, default=2)
    add("--reference", default=STOCK_PLANNER, metavar="PLANNER", help="whose patch all contestants take")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--test-cases", type=int, default=32, help="the last cases, which are not trained on")
    add("--device", default="cpu", help="cpu or cuda")
    add("--threads", type=int, default=2, help="torch threads on the CPU")
    add("--workers", type=int, default=0, help="augmentation processes; only 0 repeats a run exactly")
    add("--redo", nargs="*", default=[], metavar="LABEL", help="train these contestants again")
    args = parser.parse_args()
    if args.steps % args.epochs:
        stop(f"--steps {args.steps} is not a multiple of --epochs {args.epochs}.")
    if not re.fullmatch(r"Dataset\d{3}_.+", args.data.resolve().name) or not (args.data / "dataset.json").is_file():
        stop(f"--data {args.data} is not an nnU-Net raw data set (a folder DatasetXXX_Name with a dataset.json).")
    args.data, args.work = args.data.resolve(), args.work.resolve()
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
    prepare_raw(args.data, args.work, args.test_cases)
    plans = Plans(args.data, args.work, args.configuration, args.reference)
    torch.set_num_threads(args.threads)
    # seed by seed, so that every contestant has a first result early
    for seed in args.seeds:
        for contestant in args.contestants:
            plans.get(contestant.planner)
            torch.set_num_threads(args.threads)
            run_one(contestant, seed, plans, args, budget)
            (args.work / "table.md").write_text(table(args.work, budget))
    print("\n" + table(args.work, budget))


if __name__ == "__main__":
    main()
