"""``maskmed demo``: train and evaluate on generated or your own images with nnU-Net's own commands."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import Option

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.cli.console import print_json
from maskmed_nnu.cli.options import Device, Json, checked
from maskmed_nnu.demo import cells, cells3d, lesions, phantoms
from maskmed_nnu.demo.command_runner import Command, run_commands
from maskmed_nnu.demo.dice_scores import dice_scores, dice_table, label_names, mean_dice, worst_to_best
from maskmed_nnu.demo.drawing import draw
from maskmed_nnu.demo.nnunet_commands import (
    cell_commands,
    environment,
    model_folder,
    nnunet_commands,
    stack_commands,
)
from maskmed_nnu.demo.raw_dataset import hold_out
from maskmed_nnu.errors import InputError
from maskmed_nnu.itk import sitk
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.inference.devices import choose_device
from maskmed_nnu.nnunet.inference.trained_model import check_hook
from maskmed_nnu.output_paths import refuse_data_set_folder
from maskmed_nnu.visualization.object_figure import object_figure, stack_figure
from maskmed_nnu.visualization.prediction_figure import prediction_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTION = """\
Train one of our networks in minutes on generated data, with nnU-Net's own commands, and evaluate it.

One of four tasks, or your own raw data set with --data (a fifth of it is kept as unseen test cases):
  --task organs    MaskMed on CT-like abdomens, in 3D (the default)
  --task cells     IAUNet on overlapping cells and their nuclei, in 2D
  --task cells3d   IAUNet on stacks of touching nuclei, in 3D
  --task lesions   MaskMed on volumes with a few small lesions each

The training is short: it shows that everything works, not how good the network can become. A run that was stopped
resumes with the same command.
"""
EXAMPLE = "maskmed demo --task cells"
TASKS = ("organs", "cells", "cells3d", "lesions")
PARTS = ("Tr", "Ts")


def _task(text: str) -> str:
    if text not in TASKS:
        raise ValueError(f"{text!r} is not a task of the demo; legal are {', '.join(TASKS)}")
    return text


def run(
    task: Annotated[
        str | None,
        Option("--task", metavar="TASK", callback=checked(_task), help=f"{' | '.join(TASKS)} (default: organs)"),
    ] = None,
    out: Annotated[
        Path | None, Option("--out", metavar="DIR", help="folder for everything (default: maskmed_demo/TASK)")
    ] = None,
    data: Annotated[
        Path | None,
        Option("--data", metavar="FOLDER", help="your own nnU-Net raw data set instead of generated data"),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Generate or read the data, plan, train, predict and evaluate; print the table and write the overlays."""
    with redirect_stdout(sys.stderr) if json else nullcontext():
        found = _demo(task, out, data, device)
    if json:
        print_json(found)


def _demo(task: str | None, out: Path | None, data: Path | None, device: str) -> dict[str, Any]:
    """Prints progress and results, and returns them in a form for JSON."""
    check_hook()
    if task and data:
        raise InputError("--task names generated data and --data your own; give one of them.")
    start = time.monotonic()
    chosen = task or "organs"
    out = out or Path("maskmed_demo") / ("own_data" if data else chosen)
    refuse_data_set_folder(out)
    out = out.resolve()
    folders = {f"nnUNet_{part}": out / f"nnUNet_{part}" for part in ("raw", "preprocessed", "results")}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"export {name}={shlex.quote(str(folder))}")
    device = choose_device(device)
    if chosen == "cells":
        summary, found = _cells(out, folders, device)
    elif chosen == "cells3d":
        summary, found = _stacks(out, folders, device)
    elif data:
        summary, found = _classes(hold_out(data, folders["nnUNet_raw"]), out, folders, device)
    else:
        drawn = phantoms if chosen == "organs" else lesions
        dataset = draw(folders["nnUNet_raw"] / drawn.DATASET, drawn.write_dataset, tell=_tell)
        summary, found = _classes(dataset, out, folders, device, planning=drawn.PLANNING)
    print(f"time        {(time.monotonic() - start) / 60:.1f} min on {device}\n\n{summary}")
    return {**found, "device": device, "seconds": round(time.monotonic() - start)}


def _tell(line: str) -> None:
    print(line, flush=True)


def _run(commands: Sequence[Command], logs: Path, folders: dict[str, Path]) -> None:
    def output(said: bytes) -> None:
        sys.stdout.buffer.write(said)  # a character may be cut in two
        sys.stdout.flush()

    run_commands(commands, logs=logs, environment=environment(folders), tell=_tell, output=output)


def _classes(
    dataset: Path, out: Path, folders: dict[str, Path], device: str, *, planning: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """MaskMed on a raw data set with unseen cases; prints the results, returns the last line and a dict for JSON."""
    description = read_json(dataset / "dataset.json", expected="the data set's description")
    ending = description["file_ending"]
    unseen = sorted((dataset / "labelsTs").glob(f"*{ending}"))
    print(f"\n{dataset.name}: {description['numTraining']} cases to train on, {len(unseen)} unseen ones to test on")
    predictions = out / "predictions" / dataset.name
    commands = nnunet_commands(dataset, folders, predictions=predictions, device=device, planning=planning)
    _run(commands, out / "logs" / dataset.name, folders)

    summary = read_json(predictions / "summary.json", expected="nnU-Net's summary")
    scores = dice_scores(summary, description["labels"])
    picture = out / f"{dataset.name}.png"
    rows = [
        (
            f"{name}\nDice {dice:.3f}",
            dataset / "imagesTs" / f"{name}_0000{ending}",
            dataset / "labelsTs" / f"{name}{ending}",
            predictions / f"{name}{ending}",
        )
        for name, dice in worst_to_best(summary, ending=ending)
    ]
    figure = prediction_figure(rows, label_names(description))
    write_atomically(picture, partial(figure.savefig, dpi=100))
    print(f"\nDice on the {len(unseen)} unseen cases of {dataset.name}\n")
    print(dice_table(scores))
    result: dict[str, Any] = {"data_set": dataset.name, "mean_dice": mean_dice(scores)}
    result["dice"] = {
        name: np.nanmean(values) if np.isfinite(values).any() else None for name, values in scores.items()
    }
    if dataset.name == lesions.DATASET:
        counts = [lesions.count_lesions(_array(path), _array(predictions / path.name)) for path in unseen]
        found, missed, invented = np.sum(counts, axis=0)
        print(f"\n{found} of {found + missed} lesions found, {missed} missed, {invented} invented")
        result["lesions"] = {"found": found, "missed": missed, "invented": invented}
        print("(found: at least one voxel of it; invented: a predicted component that touches none)")
    model = model_folder(dataset, folders)
    print(f"\npicture     {picture}\nprediction  {predictions}\nmodel       {model}")
    result |= {"picture": picture, "predictions": predictions, "model": model}
    return f"mean Dice {mean_dice(scores):.3f}", result


def _objects(
    name: str,
    write: Callable[..., None],
    commands: Callable[..., list[Command]],
    out: Path,
    folders: dict[str, Path],
    device: str,
) -> dict[str, Any]:
    """Generate a data set of objects and run its commands; return its folder, the predictions and their scores."""
    dataset, predictions = folders["nnUNet_raw"] / name, out / "predictions" / name
    drawn = draw(out / "drawn", write, made_from_it=dataset, tell=_tell)
    _run(commands(drawn, dataset, predictions=predictions, device=device), out / "logs" / name, folders)
    scores = read_json(predictions / "scores.json", expected="the scores of maskmed evaluate")
    return {"data_set": dataset, "scores": scores, "predictions": predictions}


def _with_picture(found: dict[str, Any], figure: Figure, out: Path) -> dict[str, Any]:
    """Write the overlays, print where everything is, and return that for JSON."""
    name = found["data_set"].name
    picture = out / f"{name}.png"
    write_atomically(picture, partial(figure.savefig, dpi=100))
    print(f"\npicture     {picture}\nprediction  {found['predictions']}")
    return found | {"data_set": name, "picture": picture}


def _cells(out: Path, folders: dict[str, Path], device: str) -> tuple[str, dict[str, Any]]:
    """IAUNet on generated cells; prints the results, and returns the last line and a dict for JSON."""
    from maskmed_nnu.instances.detections import Detections, from_instance_map
    from maskmed_nnu.instances.files import read_ids
    from maskmed_nnu.instances.instance_map import LabelFormat, decode

    found = _objects(cells.DATASET, cells.write_pictures, cell_commands, out, folders, device)
    dataset, predictions, scores = found["data_set"], found["predictions"], found["scores"]
    description = read_json(dataset / "dataset.json", expected="the data set's description")
    label_format, ending = LabelFormat.from_dataset_json(description), description["file_ending"]

    def objects(path: Path) -> Detections:
        content = decode(read_ids(path, overlap_layers=label_format.overlap_layers), label_format)
        return from_instance_map(content.ids, content.classes)

    rows = []
    for truth in sorted((dataset / "labelsTs").glob(f"*{ending}"))[:3]:
        name = truth.name.removesuffix(ending)
        image = _array(dataset / "imagesTs" / f"{name}_0000{ending}")
        rows.append((name, image, objects(truth), objects(predictions / truth.name)))
    result = _with_picture(found, object_figure(rows), out)
    return f"AP50 {scores['AP50']:.3f}  F1@0.5 {scores['F1@0.5']:.3f}", result


def _stacks(out: Path, folders: dict[str, Path], device: str) -> tuple[str, dict[str, Any]]:
    """IAUNet on generated stacks; prints the results, and returns the last line and a dict for JSON."""
    from maskmed_nnu.instances.files import read_ids

    found = _objects(cells3d.DATASET, cells3d.write_stacks, stack_commands, out, folders, device)
    dataset, predictions, scores = found["data_set"], found["predictions"], found["scores"]
    truths = sorted((dataset / "labelsTs").glob("*.tif"))
    truth = max(truths, key=lambda path: len(np.unique(read_ids(path, overlap_layers=False))))
    image = _array(dataset / "imagesTs" / f"{truth.stem}_0000.tif")
    maps = [read_ids(path, overlap_layers=False)[0] for path in (truth, predictions / truth.name)]
    counts = [len(np.unique(ids)) - 1 for ids in maps]
    print(f"\n{truth.stem}: {counts[0]} nuclei, {counts[1]} found")
    result = _with_picture(found, stack_figure(image, *maps, spacing=(cells3d.ANISOTROPY, 1, 1)), out)
    return f"F1@0.5 {scores['F1@0.5']:.3f}  PQ {scores['PQ']:.3f}", result


def _array(path: Path) -> Any:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
