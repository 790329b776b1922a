"""Every command of nnU-Net, in the order of its documentation, after one small training of classes and one of objects.

The list of commands comes from nnU-Net's entry points: a new one fails here until somebody has looked at it.
"""

from __future__ import annotations

import functools
import http.server
import importlib.metadata
import json
import shlex
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_data import CPU, DataSet
from tiny_cells import shrink_instance_plans, write_label_maps
from tiny_data import make_case, shrink_plans, write_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COMMANDS = {
    script.name
    for script in importlib.metadata.distribution("nnunetv2").entry_points
    if script.group == "console_scripts"
}
FOR_CLASSES_ONLY = {
    # they translate data sets of nnU-Net 1 and of the Medical Segmentation Decathlon, which have no objects;
    # `maskmed convert` is their counterpart
    "nnUNetv2_convert_MSD_dataset",
    "nnUNetv2_convert_old_nnUNet_dataset",
}


@dataclass
class Model:
    """One training, and the commands that were run on it."""

    workspace: Any
    dataset: str
    planner: str
    plans: str
    trainer: str
    ran: set[str] = field(default_factory=set)

    @property
    def number(self) -> int:
        return int(self.dataset[len("Dataset") :][:3])

    @property
    def names(self) -> tuple[str, ...]:
        return ("-p", self.plans, "-tr", self.trainer)

    @property
    def raw(self) -> Path:
        return self.workspace.raw / self.dataset

    @property
    def folder(self) -> Path:
        return self.workspace.results / self.dataset / f"{self.trainer}__{self.plans}__2d"

    def run(self, command: str, *arguments: object, **settings: Any) -> str:
        self.ran.add(command)
        return self.workspace.run(command, *arguments, **settings)

    def refused(self, command: str, *arguments: object, **settings: Any) -> str:
        """The one sentence in which the command ends."""
        printed = self.run(command, *arguments, fails=True, **settings)
        assert "Traceback" not in printed, printed
        return printed.strip().splitlines()[-1]

    def place(self, name: str) -> Path:
        return self.workspace.root / self.dataset / name

    def prepare(self, shrink: Any) -> None:
        processes = ("-np", 1)
        self.run("nnUNetv2_extract_fingerprint", "-d", self.number, "--verify_dataset_integrity", *processes)
        self.run("nnUNetv2_plan_experiment", "-d", self.number, "-pl", self.planner, nnUNet_n_proc_DA="1")
        shrink(self.workspace.preprocessed / self.dataset / f"{self.plans}.json")
        self.run(
            "nnUNetv2_preprocess", "-d", self.number, "-plans_name", self.plans, "-c", "2d", *processes,
            nnUNet_n_proc_DA="1",
        )  # fmt: skip

    def train(self) -> dict:
        """The summary of the final validation."""
        self.run("nnUNetv2_train", self.number, "2d", 0, *self.names, *CPU, "--npz")
        return json.loads((self.folder / "fold_0" / "validation" / "summary.json").read_text())

    def find_best(self) -> dict:
        """What the search for the best configuration writes; its instructions are followed."""
        command = ("nnUNetv2_find_best_configuration", self.number, *self.names, "-c", "2d")
        assert self.refused(*command).startswith(f"Folds 1, 2, 3, 4 of {self.folder.name} are not trained; ")
        printed = self.run(*command, "-f", 0, "-np", 1)
        results = self.workspace.results / self.dataset
        instructions = (results / "inference_instructions.txt").read_text()
        assert instructions.strip() in printed
        for line in instructions.splitlines():
            if line.startswith("nnUNetv2_"):
                self.follow(line)
        return json.loads((results / "inference_information.json").read_text())

    def follow(self, line: str) -> None:
        """Run a printed command with real folders in the place of the capitals."""
        folders = {
            "INPUT_FOLDER": self.raw / "imagesTs",
            "OUTPUT_FOLDER": self.place("predicted"),
            "OUTPUT_FOLDER_PP": self.place("postprocessed"),
        }
        command, *words = shlex.split(line)
        device = CPU if command == "nnUNetv2_predict" else ()
        self.run(command, *(folders.get(word, word) for word in words), *device)

    def predict(self, output: Path, *options: object, **environ: str) -> Path:
        cases = ("-i", self.raw / "imagesTs", "-o", output, "-npp", 1, "-nps", 1, *CPU)
        self.run("nnUNetv2_predict", *cases, "-d", self.number, "-c", "2d", "-f", 0, *self.names, *options, **environ)
        return output

    def predict_from_folder(self) -> None:
        cases = ("-i", self.raw / "imagesTs", "-npp", 1, "-nps", 1, *CPU)
        self.run("nnUNetv2_predict_from_modelfolder", *cases, "-o", self.place("again"), "-m", self.folder, "-f", 0)
        assert label_files(self.place("again")) == label_files(self.place("predicted"))

    def accumulate(self) -> dict:
        command = ("nnUNetv2_accumulate_crossval_results", self.number, "-c", "2d", *self.names)
        assert "are not trained" in self.refused(*command)
        self.run(*command, "-f", 0, "-o", self.place("folds"))
        assert self.refused(*command, "-f", 0, "-o", self.place("folds")).endswith("requires an empty output folder.")
        return json.loads((self.place("folds") / "summary.json").read_text())

    def overlays(self) -> None:
        images = len(list((self.raw / "imagesTr").iterdir()))
        for place, source in (("raw", ("--use_raw",)), ("preprocessed", ("-p", self.plans, "-c", "2d"))):
            self.run("nnUNetv2_plot_overlay_pngs", "-d", self.number, "-o", self.place(place), *source, "-np", 1)
            assert len(list(self.place(place).glob("*.png"))) == images

    def share(self) -> None:
        """A zip, installed into empty folders from the disk and from a server, predicts the same."""
        archive = self.place("model.zip")
        model = ("-d", self.number, "-o", archive)
        export = ("nnUNetv2_export_model_to_zip", *model, *self.names)
        assert "has no model nnUNetTrainerMaskMed__" in self.refused(
            *export[:-1], "nnUNetTrainerMaskMed", "-c", "2d", "-f", 0
        )
        assert f"trained are: -tr {self.trainer} -p {self.plans} -c 2d -f 0" in self.refused(*export)
        assert "are not trained; name the trained ones, -f 0" in self.refused(*export, "-c", "2d")
        assert "has no checkpoint_last.pth" in self.refused(*export, "-c", "2d", "-f", 0, "-chk", "checkpoint_last.pth")
        assert not list(archive.parent.glob("*model.zip*"))
        self.run(*export, "-c", "2d", "-f", 0)
        assert [path.name for path in archive.parent.glob("*model.zip*")] == ["model.zip"]
        with zipfile.ZipFile(archive) as content:
            assert content.testzip() is None
            inside = {Path(name).relative_to(self.dataset, self.folder.name).as_posix() for name in content.namelist()
                      if name.startswith(f"{self.dataset}/{self.folder.name}/")}  # fmt: skip
        fold = {f"fold_0/{name}" for name in ("checkpoint_final.pth", "progress.png", "validation/summary.json")}
        assert inside >= {*fold, "plans.json", "dataset.json", "dataset_fingerprint.json"}

        install = "nnUNetv2_install_pretrained_model_from_zip"
        elsewhere = {"nnUNet_results": str(self.place("results"))}
        assert "absent.zip does not exist" in self.refused(install, self.place("absent.zip"), **elsewhere)
        damaged = self.place("damaged.zip")
        damaged.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
        assert "damaged.zip is damaged or truncated" in self.refused(install, damaged, **elsewhere)
        assert not list(self.place("results").iterdir())
        installed = self.run(install, archive, **elsewhere)
        assert f"-d {self.dataset} -tr {self.trainer} -p {self.plans} -c 2d -f 0" in installed
        assert label_files(self.predict(self.place("installed"), **elsewhere)) == label_files(self.place("predicted"))

        downloads = {"nnUNet_results": str(self.place("downloads")), "HOME": str(self.workspace.root)}
        with served(archive.parent) as address:
            self.run("nnUNetv2_download_pretrained_model_by_url", f"{address}/model.zip", **downloads)
        for path in sorted(path for path in self.place("results").rglob("*") if path.is_file()):
            copy = self.place("downloads") / path.relative_to(self.place("results"))
            assert copy.read_bytes() == path.read_bytes()

    def transfer(self, target: str) -> None:
        """The plans move to another data set, on which a training goes on from these weights."""
        number = int(target[len("Dataset") :][:3])
        self.run("nnUNetv2_extract_fingerprint", "-d", number, "-np", 1)
        moved = f"{self.plans}Moved"
        self.run(
            "nnUNetv2_move_plans_between_datasets", "-s", self.number, "-t", number, "-sp", self.plans, "-tp", moved
        )
        self.run("nnUNetv2_preprocess", "-d", number, "-plans_name", moved, "-c", "2d", "-np", 1, nnUNet_n_proc_DA="1")
        weights = self.folder / "fold_0" / "checkpoint_final.pth"
        printed = self.run(
            "nnUNetv2_train", number, "2d", 0, "-p", moved, "-tr", self.trainer, *CPU, "-pretrained_weights", weights
        )
        assert "Loading pretrained weights" in printed and "Validation complete" in printed
        fold = self.workspace.results / target / f"{self.trainer}__{moved}__2d" / "fold_0"
        assert (fold / "validation" / "summary.json").is_file()


def label_files(folder: Path) -> dict[str, bytes]:
    """The predicted label maps, byte for byte."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith((".nii.gz", ".png"))}
    assert len(files) == 2
    return files


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server on this machine that has the files of `folder`."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write_decathlon_task(folder: Path, *, cases: int = 6) -> None:
    """A data set as the Medical Segmentation Decathlon and nnU-Net 1 have it; the first keeps channels in one file."""
    for index in range(cases + 2):
        image, label = make_case(index)
        part = "Tr" if index < cases else "Ts"
        channel = "_0000" if "old" in folder.parts else ""
        write_image(folder / f"images{part}" / f"case_{index}{channel}.nii.gz", image)
        if part == "Tr" or channel:
            write_image(folder / f"labels{part}" / f"case_{index}.nii.gz", label)
    description = {
        "modality": {"0": "MR"},
        "labels": {"0": "background", "1": "ball", "2": "box"},
        "numTraining": cases,
        "numTest": 2,
        "tensorImageSize": "3D",
        "training": [],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def test_classes(workspace):
    model = Model(workspace, "Dataset041_Blobs", "MaskMedPlanner", "MaskMedPlans", "nnUNetTrainerMaskMedTiny")
    root = workspace.root
    write_decathlon_task(root / "msd" / "Task41_Blobs")
    model.run("nnUNetv2_convert_MSD_dataset", "-i", root / "msd" / "Task41_Blobs", "-np", 1)
    write_decathlon_task(root / "old" / "Task042_Old")
    model.run("nnUNetv2_convert_old_nnUNet_dataset", root / "old" / "Task042_Old", "Dataset042_Old")
    shutil.copytree(workspace.raw / "Dataset042_Old" / "labelsTs", model.raw / "labelsTs")  # the same test cases

    model.prepare(shrink_plans)
    dice = model.train()["foreground_mean"]["Dice"]
    best = model.find_best()["best_model_or_ensemble"]
    assert best["result_on_crossval_pre_pp"] == pytest.approx(dice)
    assert label_files(model.place("postprocessed"))
    assert model.accumulate()["foreground_mean"]["Dice"] == pytest.approx(dice)
    model.predict_from_folder()

    one, other = (model.predict(model.place(name), "--save_probabilities", *options)
                  for name, options in (("one", ()), ("other", ("--disable_tta",))))  # fmt: skip
    model.run("nnUNetv2_ensemble", "-i", one, other, "-o", model.place("ensemble"), "-np", 1)
    shutil.copy(one / "plans.json", model.place("ensemble"))
    assert label_files(model.place("ensemble"))
    named = ("-djfile", one / "dataset.json", "-pfile", one / "plans.json", "-np", 1)
    model.run("nnUNetv2_evaluate_folder", model.raw / "labelsTs", one, *named)
    summary = json.loads((one / "summary.json").read_text())
    model.run("nnUNetv2_evaluate_simple", model.raw / "labelsTs", one, "-l", 1, 2, "-np", 1)
    assert json.loads((one / "summary.json").read_text())["mean"] == summary["mean"]
    model.run("nnUNetv2_determine_postprocessing", "-i", one, "-ref", model.raw / "labelsTs", "-np", 1)
    pickled = ("-pp_pkl_file", one / "postprocessing.pkl", "-np", 1)
    model.run("nnUNetv2_apply_postprocessing", "-i", one, "-o", model.place("applied"), *pickled)

    model.overlays()
    model.share()
    model.run(
        "nnUNetv2_plan_and_preprocess", "-d", 42, "-pl", model.planner, "-c", "2d", "-np", 1, "-npfp", 1,
        nnUNet_n_proc_DA="1",
    )  # fmt: skip
    model.transfer("Dataset042_Old")
    assert model.ran == COMMANDS


def test_objects(workspace):
    model = Model(workspace, "Dataset031_Touching", "IAUNetPlanner", "IAUNetPlans", "nnUNetTrainerIAUNetTiny")
    write_label_maps(workspace.root / "touching")
    for number, name in ((31, "Touching"), (32, "Others")):
        data = DataSet(workspace, number, name)
        data.convert("--images @touching/images --masks @touching/masks --split-pieces")

    model.prepare(shrink_instance_plans)
    summary = model.train()
    validation = model.folder / "fold_0" / "validation"
    scores = json.loads((validation / "instances.json").read_text())
    assert summary["foreground_mean"]["AP50"] == summary["mean"]["1"]["AP50"] == scores["AP50"] > 0
    assert 0 < summary["foreground_mean"]["Dice"] <= 1
    assert len(summary["metric_per_case"]) == len(list(validation.glob("*.png")))

    information = model.find_best()
    best = information["best_model_or_ensemble"]
    assert information["metric"] == "AP50" and best["result_on_crossval_pre_pp"] == pytest.approx(scores["AP50"])
    assert best["selected_model_or_models"] == [
        {"configuration": "2d", "trainer": model.trainer, "plans_identifier": model.plans}
    ]
    folds = model.accumulate()["foreground_mean"]
    assert folds["PQ"] == pytest.approx(scores["PQ"]) and folds["Dice"] == summary["foreground_mean"]["Dice"]
    model.predict_from_folder()

    predicted = model.predict(model.place("one"), "--save_probabilities")
    truth = model.raw / "labelsTs"
    ensemble = ("nnUNetv2_ensemble", "-i", predicted, model.place("predicted"), "-o", model.place("ensemble"))
    assert "ensembling would read as classes; skip that step" in model.refused(*ensemble)
    # references without a dataset.json beside or above them: the named one is believed
    references = shutil.copytree(truth, workspace.root / "elsewhere" / "a" / "b" / "c")
    named = ("-djfile", predicted / "dataset.json", "-pfile", predicted / "plans.json", "-np", 1)
    printed = model.run("nnUNetv2_evaluate_folder", references, predicted, *named)
    assert f"maskmed evaluate {predicted} {references}" in printed.splitlines()[-1]
    assert 0 < json.loads((predicted / "summary.json").read_text())["mean"]["1"]["Dice"] <= 1
    next(references.glob("*.png")).rename(references / "unseen.png")
    assert "is missing" in model.refused("nnUNetv2_evaluate_folder", references, predicted, *named)
    assert "maskmed evaluate" in model.refused("nnUNetv2_evaluate_simple", truth, predicted, "-l", 1)
    for command, options in (("determine", ("-ref", truth)), ("apply", ("-o", truth, "-pp_pkl_file", "none.pkl"))):
        refusal = model.refused(f"nnUNetv2_{command}_postprocessing", "-i", predicted, *options)
        assert "for objects" in refusal and "skip that step" in refusal

    model.overlays()
    model.share()
    # what version 0.1 left after a training
    export = ("nnUNetv2_export_model_to_zip", "-d", 31, "-c", "2d", "-f", 0, *model.names, "-o", model.place("old.zip"))
    (validation / "summary.json").unlink()
    model.run(*export)
    old = json.loads((validation / "summary.json").read_text())["foreground_mean"]
    assert old == {name: value for name, value in summary["foreground_mean"].items() if name in scores}
    for name in ("summary.json", "instances.json"):
        (validation / name).unlink()
    assert model.refused(*export).endswith(
        f"nnUNetv2_train {model.dataset} 2d 0 -tr {model.trainer} -p {model.plans} --val."
    )

    model.run(
        "nnUNetv2_plan_and_preprocess", "-d", 32, "-pl", model.planner, "-c", "2d", "-np", 1, "-npfp", 1,
        nnUNet_n_proc_DA="1",
    )  # fmt: skip
    model.transfer("Dataset032_Others")
    assert model.ran == COMMANDS - FOR_CLASSES_ONLY
    assert np.isfinite(summary["foreground_mean"]["PQ"])
