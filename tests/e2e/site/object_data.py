"""A data set of objects on its way through the commands, with the tiny trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from tiny_cells import shrink_instance_plans

from maskmed_nnu.cli.main import main
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.instances.instance_map import LabelFormat, decode

TRAINER = "nnUNetTrainerIAUNetTiny"
CPU = ("-device", "cpu")


@dataclass(frozen=True)
class DataSet:
    """A raw data set with a few unseen cases in a workspace, and what its commands leave."""

    workspace: Any
    number: int
    name: str
    planner: str = "IAUNetPlanner"
    trainer: str = TRAINER
    shrink: Callable[..., None] = shrink_instance_plans
    model_of: str = "2d"
    """the configuration"""

    @property
    def plans(self) -> str:
        return self.planner.replace("Planner", "Plans")

    @property
    def model(self) -> tuple[str, ...]:
        return ("-p", self.plans, "-tr", self.trainer)

    @property
    def raw(self) -> Path:
        return self.workspace.raw / f"Dataset{self.number:03d}_{self.name}"

    @property
    def preprocessed(self) -> Path:
        return self.workspace.preprocessed / self.raw.name

    @property
    def fold(self) -> Path:
        return self.workspace.results / self.raw.name / f"{self.trainer}__{self.plans}__{self.model_of}" / "fold_0"

    @property
    def description(self) -> dict:
        return json.loads((self.raw / "dataset.json").read_text())

    @property
    def configuration(self) -> dict:
        return json.loads((self.preprocessed / f"{self.plans}.json").read_text())["configurations"][self.model_of]

    @property
    def predictions(self) -> Path:
        return self.workspace.root / f"predicted_{self.name}"

    def convert(self, line: str, *, test: int = 2) -> None:
        """``maskmed convert`` with the options of ``line``, in which @ stands for the workspace."""
        words = line.replace("@", f"{self.workspace.root}/").split()
        target = ("--id", str(self.number), "--name", self.name, "--output", str(self.workspace.raw))
        assert main(["convert", *words, *target, "--test", str(test)]) == 0

    def keep_two(self) -> None:
        """The last two cases become unseen ones."""
        for kind in ("images", "labels"):
            (self.raw / f"{kind}Ts").mkdir()
            for path in sorted((self.raw / f"{kind}Tr").glob(f"*{self.description['file_ending']}"))[-2:]:
                path.rename(self.raw / f"{kind}Ts" / path.name)
        training = len(list((self.raw / "labelsTr").iterdir()))
        (self.raw / "dataset.json").write_text(json.dumps({**self.description, "numTraining": training}))

    def plan(self, *, patch: int = 64) -> str:
        command = ("-d", self.number, "-pl", self.planner, "-c", self.model_of, "--verify_dataset_integrity")
        processes = ("-np", 1, "-npfp", 1)
        printed = self.workspace.run("nnUNetv2_plan_and_preprocess", *command, *processes, nnUNet_n_proc_DA="1")
        settings = {} if self.model_of == "2d" else {"configuration": self.model_of}
        self.shrink(self.preprocessed / f"{self.plans}.json", patch=patch, **settings)
        return printed

    def train(self, *options: str, fold: object = 0, **settings: Any) -> str:
        return self.workspace.run(
            "nnUNetv2_train", self.number, self.model_of, fold, *self.model, *CPU, *options, **settings
        )

    def predict(self, *, new_interpreter: bool = False) -> str:
        run = self.workspace.run_in_new_interpreter if new_interpreter else self.workspace.run
        return run(
            "nnUNetv2_predict",
            *("-i", self.raw / "imagesTs", "-o", self.predictions, "-d", self.number, "-c", self.model_of, "-f", 0),
            *(*self.model, *CPU, "-npp", 1, "-nps", 1),
        )

    def check_predictions(self) -> list[np.ndarray]:
        """The id maps ``[L, *spatial]`` of the unseen images: sizes of the truth, declared classes, unsigned."""
        label_format, ending = LabelFormat.from_dataset_json(self.description), self.description["file_ending"]
        truths = sorted((self.raw / "labelsTs").glob(f"*{ending}"))
        assert truths
        found = []
        for truth in truths:
            expected, raw = (
                read_ids(folder / truth.name, overlap_layers=label_format.overlap_layers)
                for folder in (truth.parent, self.predictions)
            )
            assert raw.shape[1:] == expected.shape[1:] and raw.dtype.kind == "u"
            decode(raw, label_format)
            found.append(raw)
        assert any(raw.any() for raw in found), "no object was found"
        return found

    def check_geometry(self) -> None:
        """Predicted volumes lie where their images do, as ITK and nibabel read it."""
        images = sorted((self.raw / "imagesTs").glob("*.nii.gz"))
        assert images
        for path in images:
            predicted = self.predictions / path.name.replace("_0000", "")
            image, ids = sitk.ReadImage(str(path)), sitk.ReadImage(str(predicted))
            for question in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
                assert getattr(ids, question)() == getattr(image, question)()
            np.testing.assert_array_equal(nibabel.load(predicted).affine, nibabel.load(path).affine)

    def check_stuff(self) -> None:
        """Cells and nuclei among matrix, in panoptic ids."""
        instances = self.configuration["instances"]
        assert instances["thing_classes"] == [1, 2] and instances["stuff_classes"] == [3]
        values = np.unique(np.stack(self.check_predictions()))
        # whether so short a training leaves stuff uncovered is luck; that it is written is tested with an oracle
        assert set(values[values % 1000 == 0]) <= {0, 3000} and values.max() <= 3000, "stuff has index 0"
        assert {1, 2} & set(values // 1000)
        assert set(self.evaluate()["per_class"]) == {"cell", "nucleus", "matrix"}

    def evaluate(self) -> dict:
        """What ``maskmed evaluate`` writes."""
        output = self.workspace.root / f"{self.name}.json"
        folders = ("--truth", self.raw / "labelsTs", "--prediction", self.predictions)
        assert main(["evaluate", *map(str, folders), "--json", str(output)]) == 0
        return json.loads(output.read_text())

    def through_the_commands(self, *, patch: int) -> dict[str, dict]:
        """Scores per class of the unseen images, in each of which something must be found."""
        printed = self.plan(patch=patch)
        assert "If you didn't see any error messages then your dataset is most likely OK!" in printed
        assert "Validation complete: AP " in self.train()
        self.predict()
        assert all(len(np.unique(raw)) > 1 for raw in self.check_predictions())
        return self.evaluate()["per_class"]
