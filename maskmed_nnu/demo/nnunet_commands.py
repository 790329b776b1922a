"""nnU-Net's commands that the demo runs on a data set, as a user would type them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from maskmed_nnu.demo import cells
from maskmed_nnu.demo.command_runner import Command
from maskmed_nnu.errors import InputError

PLANNER = "MaskMedPlanner"
PLANS = "MaskMedPlans"
TRAINER = "nnUNetTrainerMaskMedDemo"
CELL_TRAINER = "nnUNetTrainerIAUNet_3minutes"
FOLD = "all"  # the unseen cases are held back by us, so every other one may be trained on


def nnunet_commands(
    dataset: Path, folders: dict[str, Path], *, predictions: Path, device: str, planning: Sequence[str] = ()
) -> list[Command]:
    """The stock commands, as a user would type them; `planning` are further options of the first."""
    number = str(int(dataset.name[7:10]))
    configuration = planned_configuration(dataset)
    cores = str(min(8, os.cpu_count() or 1))
    on_device = ("-device", device)
    begun = any((model_folder(dataset, folders) / f"fold_{FOLD}").glob("checkpoint_*.pth"))
    plans = folders["nnUNet_preprocessed"] / dataset.name / f"{PLANS}.json"
    plan = ["nnUNetv2_plan_and_preprocess", "-d", number, "-pl", PLANNER, "-c", configuration]
    plan += [*planning, "--verify_dataset_integrity"]
    train = ["nnUNetv2_train", number, configuration, FOLD, "-p", PLANS, "-tr", TRAINER]
    predict = ["nnUNetv2_predict", "-i", str(dataset / "imagesTs"), "-o", str(predictions), "-d", number]
    predict += ["-c", configuration, "-f", FOLD, "-p", PLANS, "-tr", TRAINER]
    evaluate = ["nnUNetv2_evaluate_folder", str(dataset / "labelsTs"), str(predictions)]
    evaluate += ["-djfile", str(dataset / "dataset.json"), "-pfile", str(plans)]
    checkpoint = model_folder(dataset, folders) / f"fold_{FOLD}" / "checkpoint_final.pth"
    # evaluation leaves its summary among the predictions
    predicted = [predictions / path.name for path in sorted((dataset / "labelsTs").iterdir())]
    raw = [dataset / name for name in ("dataset.json", "imagesTr", "labelsTr")]
    return [
        Command(
            "1_plan_and_preprocess",
            "plan and preprocess",
            plan,
            options=("-npfp", cores, "-np", cores),
            files=[*raw, plans],
        ),
        Command(
            "2_train", "train", train, options=on_device, resume=("--c",) if begun else (), files=[plans, checkpoint]
        ),
        Command(
            "3_predict",
            "predict the unseen cases",
            predict,
            options=on_device,
            files=[checkpoint, dataset / "imagesTs", *predicted],
        ),
        Command(
            "4_evaluate",
            "evaluate",
            evaluate,
            options=("-np", cores),
            files=[dataset / "labelsTs", *predicted, predictions / "summary.json"],
        ),
    ]


def environment(folders: dict[str, Path]) -> dict[str, str]:
    """The variables that the commands are run with."""
    cores = str(min(8, os.cpu_count() or 1))
    variables = {name: str(folder) for name, folder in folders.items()}
    variables |= {"nnUNet_def_n_proc": cores, "nnUNet_npp": "1", "nnUNet_nps": "1"}
    return variables | {"nnUNet_compile": "f"}  # takes longer than a training as short as this one saves


def model_folder(dataset: Path, folders: dict[str, Path]) -> Path:
    """Where the training of the data set ends up."""
    return folders["nnUNet_results"] / dataset.name / f"{TRAINER}__{PLANS}__{planned_configuration(dataset)}"


def planned_configuration(dataset: Path) -> str:
    """``2d`` where the images are flat, else ``3d_fullres``."""
    reader = sitk.ImageFileReader()
    image = min((dataset / "imagesTs").glob("*_0000.*"))
    reader.SetFileName(str(image))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{image} cannot be read as an image: {str(error).strip().splitlines()[-1]}") from None
    return "2d" if len(reader.GetSize()) < 3 or 1 in reader.GetSize() else "3d_fullres"


def cell_commands(drawn: Path, dataset: Path, *, predictions: Path, device: str) -> list[Command]:
    """From a COCO json in the folder `drawn` to scores of the objects in the unseen pictures."""
    number, name = str(int(dataset.name[7:10])), dataset.name[11:]
    training = ("-p", "IAUNetPlans", "-tr", CELL_TRAINER)
    convert = ["maskmed", "convert", "--coco", str(drawn / cells.JSON), "--images", str(drawn / cells.IMAGES)]
    convert += ["--id", number, "--name", name, "--test", str(cells.TEST), "--output", str(dataset.parent)]
    plan = ["nnUNetv2_plan_and_preprocess", "-d", number, "-pl", "IAUNetPlanner", "-c", "2d"]
    train = ["nnUNetv2_train", number, "2d", FOLD, *training]
    predict = ["maskmed", "predict", "-i", str(dataset / "imagesTs"), "-o", str(predictions), "-d", number, "-f", FOLD]
    scores = predictions / "scores.json"
    evaluate = ["maskmed", "evaluate", "--truth", str(dataset / "labelsTs"), "--prediction", str(predictions)]
    evaluate += ["--scores", str(predictions / "predictions_coco.json"), "--json-file", str(scores)]
    processes = ("-npfp", "2", "-np", "2")
    parts = [dataset / part for part in ("dataset.json", "imagesTr", "labelsTr", "imagesTs", "labelsTs")]
    found = predictions / "predictions_coco.json"
    return [
        Command("1_convert", "convert the annotations", convert, files=[drawn, *parts]),
        Command("2_plan_and_preprocess", "plan and preprocess", plan, options=processes, files=parts[:3]),
        Command("3_train", "train", train, options=("-device", device)),
        Command(
            "4_predict",
            "find the cells in unseen pictures",
            [*predict, *training, "--overwrite"],
            options=("--device", device),
            files=[found],
        ),
        Command("5_evaluate", "evaluate", evaluate, files=[found, scores]),
    ]
