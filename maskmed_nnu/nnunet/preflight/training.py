"""Before nnU-Net's training."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.text import count
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.inference.trained_model import is_whole
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.preflight.devices import device_faults
from maskmed_nnu.nnunet.preflight.disk import bytes_in, room_faults
from maskmed_nnu.nnunet.preflight.faults import Fault, named, read_file
from maskmed_nnu.nnunet.preflight.folders import data_set_faults, environment_faults, find_data_set, folder_of
from maskmed_nnu.nnunet.preflight.splits import SPLITS, split_faults
from maskmed_nnu.nnunet.training.checkpoint_files import LOOKED_FOR

CHECKPOINT_BYTES = 12
"""Of a weight: itself and AdamW's two moments, float32."""
CHECKPOINTS = 3  # the best, the latest, and one that is being written


class Training(NamedTuple):
    """What ``nnUNetv2_train`` was asked for."""

    data_set: str
    configuration: str
    fold: str
    trainer: str
    plans: str
    device: str = "cuda"
    gpus: int = 1
    pretrained_weights: str | None = None
    continues: bool = False
    validates_only: bool = False
    keeps_checkpoints: bool = True


def training_faults(training: Training) -> list[Fault]:
    faults = [
        *environment_faults(reads="nnUNet_preprocessed", writes="nnUNet_results"),
        *device_faults(training.device, gpus=training.gpus),
        *_option_faults(training),
        *data_set_faults(training.data_set, inside="nnUNet_preprocessed", option="data set"),
    ]
    name, parent = find_data_set(training.data_set, inside="nnUNet_preprocessed"), folder_of("nnUNet_preprocessed")
    if name is not None and parent is not None:
        faults += _plans_faults(training, parent / name)
    return faults


def _option_faults(training: Training) -> Iterator[Fault]:
    weights = training.pretrained_weights
    if weights is not None and not Path(weights).is_file():
        yield Fault("-pretrained_weights", f"{weights} does not exist", "name a checkpoint, a file that ends in .pth")
    if weights is not None and training.continues:
        what = "pretrained weights are given, but --c continues with the weights of the training"
        yield Fault("-pretrained_weights", what, "leave out either --c or -pretrained_weights")
    if training.continues and training.validates_only:
        yield Fault("--val", "it cannot be combined with --c, which trains first", "leave one of the two out")
    if _fold(training) is None:
        yield Fault("fold", f"{training.fold} is not a fold", "name a number from 0, or 'all'")


def _plans_faults(training: Training, folder: Path) -> Iterator[Fault]:
    path = folder / f"{training.plans}.json"
    if not path.is_file():
        others = sorted(
            other.stem for other in folder.glob("[!.]*.json") if b"network_class_name" in other.read_bytes()
        )
        cure = f"add -p with one of {named(others)}" if others else "run nnUNetv2_plan_and_preprocess first"
        yield Fault(path.name, "the plans file is missing", cure, folder)
        return
    plans, faults = read_file(path, expected="nnU-Net's plans")
    description, more = read_file(folder / "dataset.json", expected="nnU-Net's description of the data set")
    yield from (*faults, *more)
    if not isinstance(plans, dict):
        if not faults:
            yield Fault(path.name, "it holds no plans", "run nnUNetv2_plan_and_preprocess again", folder)
        return
    try:
        configuration = resolve_configuration(plans, training.configuration)
    except InputError as error:
        what, _, cure = str(error).removesuffix(".").partition("; ")
        if not cure:
            what, _, cure = what.partition(". ")
        yield Fault("plans", what, cure[:1].lower() + cure[1:] or "plan again")
        return
    if plans.get("dataset_name") != folder.name:
        what = f"the plans are for a data set called {plans.get('dataset_name')}"
        cure = "plan again; after a data set was renamed, the plans still have its old name"
        yield Fault(path.name, what, cure, folder)
        return
    data = folder / str(configuration.get("data_identifier"))
    again = f"nnUNetv2_preprocess -d {folder.name[7:10]} -plans_name {training.plans} -c {training.configuration}"
    files = [entry.name for entry in os.scandir(data) if entry.is_file()] if data.is_dir() else []
    cases = preprocessed_cases(files)
    if not cases:
        yield Fault(data.name, "there are no preprocessed cases", f"run {again}", folder)
        return
    yield from _data_faults(files, cases, data, folder, again)
    fold = _fold(training)
    if isinstance(fold, int):
        yield from split_faults(folder, cases, fold)
    yield from _truth_faults(folder, description, _of_fold(folder, cases, fold, "val"), again)
    used = _of_fold(folder, cases, fold, "train", "val")
    yield from _previous_stage_faults(training, plans, configuration, used)
    results = os.environ.get("nnUNet_results")
    if results:
        model = f"{training.trainer}__{training.plans}__{training.configuration}"
        trained = Path(results) / folder.name / model / f"fold_{fold}"
        if training.validates_only and not (trained / "checkpoint_final.pth").is_file():
            what = f"{trained} has no checkpoint_final.pth to validate"
            yield Fault("--val", what, "finish the training first, with --c if it was stopped")
        if training.continues or training.validates_only:
            yield from _damaged_checkpoint(trained)
        yield from _room_faults(training, plans, configuration, description, trained)


def _damaged_checkpoint(fold: Path) -> Iterator[Fault]:
    """The one that a training goes on from, or is validated with, where its end is missing."""
    name = next((name for name in LOOKED_FOR if (fold / name).is_file()), None)
    if name is not None and not is_whole(fold / name):
        cure = "copy it again, or delete it, and nnU-Net uses the latest or best one"
        yield Fault(name, "it is damaged or truncated", cure, fold)


def preprocessed_cases(files: Collection[str]) -> set[str]:
    """What nnU-Net takes for cases."""
    blosc = {name[:-5] for name in files if name.endswith(".b2nd") and not name.endswith("_seg.b2nd")}
    return blosc | {name[:-4] for name in files if name.endswith(".npz")}


def _data_faults(
    files: Collection[str], cases: Collection[str], data: Path, folder: Path, again: str
) -> Iterator[Fault]:
    strange = [name for name in files if name.startswith(".") or name.rpartition(".")[2] not in _OF_CASES]
    if strange:
        what = f"{count(len(strange), 'file')} that nnU-Net does not expect among the cases: {named(sorted(strange))}"
        yield Fault(data.name, what, "delete them", folder)
    present = set(files)
    blosc = any(name.endswith(".b2nd") for name in files)
    parts = (".pkl", "_seg.b2nd") if blosc else (".pkl",)
    torn = [c for c in sorted(cases) if not c.startswith(".") and any(c + part not in present for part in parts)]
    if torn:
        what = f"{count(len(torn), 'case')} incomplete, because the preprocessing was stopped: {named(torn)}"
        yield Fault(data.name, what, f"run {again} again", folder)


_OF_CASES = ("b2nd", "npz", "npy", "pkl")


def _fold(training: Training) -> int | str | None:
    if training.fold == "all":
        return "all"
    try:
        return int(training.fold)
    except ValueError:
        return None


def _of_fold(folder: Path, cases: Collection[str], fold: int | str | None, *parts: str) -> set[str]:
    """The cases of these ``parts`` of a fold, "train" and "val"; cases may be in no fold."""
    if not isinstance(fold, int) or not (folder / SPLITS).is_file():
        return set(cases)
    try:
        split = read_json(folder / SPLITS, expected="folds")[fold]
        return set(cases) & {name for part in parts for name in split[part]}
    except (InputError, LookupError, TypeError):
        return set()  # told already


def _truth_faults(folder: Path, description: Any, cases: Collection[str], again: str) -> Iterator[Fault]:
    truth = folder / "gt_segmentations"
    ending = description.get("file_ending") if isinstance(description, dict) else None
    present = {entry.name for entry in os.scandir(truth)} if truth.is_dir() else set()
    missing = [case for case in sorted(cases) if f"{case}{ending}" not in present]
    if missing and isinstance(ending, str):
        what = f"label maps of {count(len(missing), 'case')} are missing, for the validation after training: "
        cure = f"preprocess again, to the end: {again}"
        yield Fault(truth.name, what + named(f"{case}{ending}" for case in missing), cure, folder)


def _previous_stage_faults(
    training: Training, plans: dict[str, Any], configuration: dict[str, Any], cases: Collection[str]
) -> Iterator[Fault]:
    previous, results = configuration.get("previous_stage"), folder_of("nnUNet_results")
    if not previous or results is None:
        return
    model = results / plans["dataset_name"] / f"{training.trainer}__{training.plans}__{previous}"
    folder = model / "predicted_next_stage" / training.configuration
    present = {path.name.partition(".")[0] for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [case for case in sorted(cases) if case.partition(".")[0] not in present]
    if missing:
        what = f"{count(len(missing), 'case')} without a prediction of {previous}: {named(missing)}"
        yield Fault(folder.name, what, f"train all folds of {previous} first, with the same -tr and -p", folder.parent)


def _room_faults(
    training: Training, plans: dict[str, Any], configuration: dict[str, Any], description: Any, trained: Path
) -> Iterator[Fault]:
    """Of checkpoints; those that an earlier run left are overwritten."""
    if training.validates_only or not training.keeps_checkpoints:
        return
    weights = _number_of_weights(plans, training.configuration, configuration, description)
    what = f"{CHECKPOINTS} checkpoints ({weights:,} weights, each with its two moments)"
    needed = CHECKPOINTS * CHECKPOINT_BYTES * weights - bytes_in(trained)
    yield from room_faults(trained, needed, "nnUNet_results", what)


def _number_of_weights(plans: dict[str, Any], name: str, configuration: dict[str, Any], description: Any) -> int:
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from maskmed_nnu.nnunet.plans_handling.meta_network import meta_network

    try:
        manager = PlansManager(plans)
        architecture = configuration["architecture"]
        network = meta_network(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            determine_num_input_channels(manager, manager.get_configuration(name), description),
            manager.get_label_manager(description).num_segmentation_heads,
        )
    except Exception:  # plans edited by hand: the trainer's checks say what is wrong with them
        return 0
    return sum(parameter.numel() for parameter in network.parameters())
