"""nnU-Net's commands that the demo runs on a data set, as a user would type them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskmed_nnu.cpus import process_count
from maskmed_nnu.demo import cells, cells3d
from maskmed_nnu.demo.command_runner import Command
from maskmed_nnu.errors import InputError
from maskmed_nnu.itk import sitk

PLANNER = "MaskMedPlanner"
PLANS = "MaskMedPlans"
TRAINER = "nnUNetTrainerMaskMedDemo"
OBJECT_PLANS = "IAUNetPlans"
CELL_TRAINER = "nnUNetTrainerIAUNet_3minutes"
STACK_TRAINER = "nnUNetTrainerIAUNet_5minutes"
FOLD = "all"  # the unseen cases are held back by us, so every other one may be trained on


def nnunet_commands(
    dataset: Path, folders: dict[str, Path], *, predictions: Path, device: str, planning: Sequence[str] = ()
) -> list[Command]:
    """The stock commands, as a user would type them; `planning` are further options of the first."""
    number = _number(dataset)
    configuration = planned_configuration(dataset)
    cores = str(process_count())
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
    cores = str(process_count())
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
    source = ["--coco", str(drawn / cells.JSON), "--images", str(drawn / cells.IMAGES)]
    found = predictions / "predictions_coco.json"
    predict = ["maskmed", "predict", "-i", str(dataset / "imagesTs"), "-o", str(predictions)]
    predict += ["-d", _number(dataset), "-f", FOLD, "-p", OBJECT_PLANS, "-tr", CELL_TRAINER, "--overwrite"]
    convert, plan, train = _object_training(
        source, drawn, dataset, test=cells.TEST, configuration="2d", trainer=CELL_TRAINER, device=device
    )
    return [
        convert,
        plan,
        train,
        Command("4_predict", "find the cells in unseen images", predict, options=("--device", device), files=[found]),
        _object_evaluation(dataset, predictions, scores=["--scores", str(found)], files=[found]),
    ]


def stack_commands(drawn: Path, dataset: Path, *, predictions: Path, device: str) -> list[Command]:
    """From stacks and their label maps in the folder `drawn` to scores of the objects in the unseen stacks."""
    source = ["--images", str(drawn / cells3d.IMAGES), "--masks", str(drawn / cells3d.MASKS), "--classes", "nucleus"]
    predict = ["nnUNetv2_predict", "-i", str(dataset / "imagesTs"), "-o", str(predictions), "-d", _number(dataset)]
    predict += ["-c", "3d_fullres", "-f", FOLD, "-p", OBJECT_PLANS, "-tr", STACK_TRAINER]
    convert, plan, train = _object_training(
        source, drawn, dataset, test=cells3d.TEST, configuration="3d_fullres", trainer=STACK_TRAINER, device=device
    )
    found = [predictions / f"cells_{cells3d.TRAINING + index:02d}.tif" for index in range(cells3d.TEST)]
    return [
        convert,
        plan,
        train,
        Command("4_predict", "find the nuclei in unseen stacks", predict, options=("-device", device), files=found),
        _object_evaluation(dataset, predictions, scores=[], files=found),
    ]


def _object_training(
    source: list[str], drawn: Path, dataset: Path, *, test: int, configuration: str, trainer: str, device: str
) -> list[Command]:
    number, name = _number(dataset), dataset.name[11:]
    convert = ["maskmed", "convert", *source, "--id", number, "--name", name, "--test", str(test)]
    convert += ["--output", str(dataset.parent)]
    plan = ["nnUNetv2_plan_and_preprocess", "-d", number, "-pl", "IAUNetPlanner", "-c", configuration]
    train = ["nnUNetv2_train", number, configuration, FOLD, "-p", OBJECT_PLANS, "-tr", trainer]
    parts = [dataset / part for part in ("dataset.json", "imagesTr", "labelsTr", "imagesTs", "labelsTs")]
    return [
        Command("1_convert", "convert the annotations", convert, files=[drawn, *parts]),
        Command(
            "2_plan_and_preprocess", "plan and preprocess", plan, options=("-npfp", "2", "-np", "2"), files=parts[:3]
        ),
        Command("3_train", "train", train, options=("-device", device)),
    ]


def _object_evaluation(dataset: Path, predictions: Path, *, scores: list[str], files: list[Path]) -> Command:
    written = predictions / "scores.json"
    evaluate = ["maskmed", "evaluate", str(predictions), str(dataset / "labelsTs")]
    return Command("5_evaluate", "evaluate", [*evaluate, *scores, "--json-file", str(written)], files=[*files, written])


def _number(dataset: Path) -> str:
    return str(int(dataset.name[7:10]))
