"""Data of the comparisons of trainers: the split, and arrays that methods with the same preprocessing share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from copy import deepcopy
from pathlib import Path

from methods import files_digest, find_planner, made_before, stop

SAME_ARRAYS = {"MaskMedPreprocessor": "DefaultPreprocessor"}
"""Preprocessors that only add checks to another one: their output is shared."""


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
    parts = [data / name for name in ("imagesTr", "labelsTr", "dataset.json")]
    settings = {"data": str(data.resolve()), "test_cases": test_cases, "files": files_digest(*parts)}
    if made_before(stamp, settings):
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
    stamp.write_text(json.dumps(settings | {"train": train, "test": test}, indent=2))


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
