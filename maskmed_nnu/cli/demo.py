"""``maskmed demo``: from images to a table and a picture through nnU-Net's own commands."""

from __future__ import annotations

import os
import shlex
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.cli.options import Device
from maskmed_nnu.demo import phantoms
from maskmed_nnu.demo.command_runner import run_commands
from maskmed_nnu.demo.dice_scores import dice_scores, dice_table, label_names, mean_dice
from maskmed_nnu.demo.nnunet_commands import model_folder, nnunet_commands
from maskmed_nnu.demo.raw_dataset import hold_out
from maskmed_nnu.file_state import folder_state
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.nnunet.inference.devices import choose_device
from maskmed_nnu.nnunet.inference.trained_model import check_hook
from maskmed_nnu.output_paths import refuse_data_set_folder
from maskmed_nnu.visualization.prediction_figure import prediction_figure

DESCRIPTION = """\
Plan, train, predict and evaluate MaskMed with nnU-Net's own commands, on
generated CT-like phantoms or on your own raw data set (of which a fifth is
held back as unseen test cases). The training is short: it shows that
everything works, not how well it can. A run that was stopped goes on where it
ended."""
EXAMPLE = "maskmed demo --out demo"
PARTS = ("Tr", "Ts")


def run(
    out: Annotated[Path, Option("--out", metavar="DIR", help="folder for everything")] = Path("maskmed_demo"),
    data: Annotated[
        Path | None,
        Option("--data", metavar="FOLDER", help="your own nnU-Net raw data set instead of generated phantoms"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Make or take the data, plan, train, predict and evaluate, then print the table and write the picture."""
    check_hook()
    start = time.monotonic()
    refuse_data_set_folder(out)
    out = out.resolve()
    folders = {f"nnUNet_{part}": out / f"nnUNet_{part}" for part in ("raw", "preprocessed", "results")}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"export {name}={shlex.quote(str(folder))}")
    dataset = hold_out(data, folders["nnUNet_raw"]) if data else _phantoms(folders["nnUNet_raw"])
    description = read_json(dataset / "dataset.json", expected="the data set's description")
    unseen = sorted((dataset / "labelsTs").glob(f"*{description['file_ending']}"))
    print(f"\n{dataset.name}: {description['numTraining']} cases to train on, {len(unseen)} unseen ones to test on")

    device = choose_device(device)
    predictions = out / "predictions" / dataset.name
    commands = nnunet_commands(dataset, folders, predictions=predictions, device=device)
    cores = str(min(8, os.cpu_count() or 1))
    environment = {name: str(folder) for name, folder in folders.items()}
    environment |= {"nnUNet_def_n_proc": cores, "nnUNet_npp": "1", "nnUNet_nps": "1"}
    environment |= {"nnUNet_compile": "f"}  # takes longer than a training as short as this one saves
    run_commands(commands, logs=out / "logs" / dataset.name, environment=environment)

    summary = read_json(predictions / "summary.json", expected="nnU-Net's summary")
    scores = dice_scores(summary, description["labels"])
    picture = out / f"{dataset.name}.png"
    figure = prediction_figure(_rows(dataset, predictions, summary, description), label_names(description))
    write_atomically(picture, partial(figure.savefig, dpi=110))
    print(f"\nDice on the {len(unseen)} unseen cases of {dataset.name}\n")
    print(dice_table(scores))
    print(f"\npicture     {picture}\nprediction  {predictions}\nmodel       {model_folder(dataset, folders)}")
    print(f"time        {(time.monotonic() - start) / 60:.1f} min on {device}")
    print(f"\nmean Dice {mean_dice(scores):.3f}")


def _phantoms(raw: Path) -> Path:
    """The phantoms in `raw`, drawn again where a file of them has changed."""
    dataset = raw / phantoms.DATASET
    drawn, parts = (
        dataset / "drawn.json",
        [dataset / f"{kind}{part}" for kind in ("images", "labels") for part in PARTS],
    )
    if (dataset / "dataset.json").is_file() and drawn.is_file():
        if read_json(drawn, expected="the state of the phantoms") == folder_state(parts):
            return dataset
        print(f"\nFiles in {dataset} have changed")
    print(f"\nDrawing CT-like phantoms into {dataset}")
    phantoms.write_dataset(dataset, report=lambda line: print(line, flush=True))
    write_json(drawn, folder_state(parts))
    return dataset


def _rows(dataset: Path, predictions: Path, summary: dict, description: dict) -> list[tuple[str, Path, Path, Path]]:
    """Caption and files of up to three unseen cases, from the worst to the best predicted one."""
    ending = description["file_ending"]

    def dice(case: dict) -> float:
        values = [m["Dice"] for m in case["metrics"].values() if np.isfinite(m["Dice"])]
        return float(np.mean(values)) if values else 0.0

    ranked = sorted(summary["metric_per_case"], key=dice)
    rows = []
    for index in sorted({0, (len(ranked) - 1) // 2, len(ranked) - 1}):
        name = Path(ranked[index]["reference_file"]).name
        image = dataset / "imagesTs" / f"{name.removesuffix(ending)}_0000{ending}"
        caption = f"{name.removesuffix(ending)}\nDice {dice(ranked[index]):.3f}"
        rows.append((caption, image, dataset / "labelsTs" / name, predictions / name))
    return rows
