"""nnU-Net's preprocessing with a check of every case first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from maskmed_nnu.atomic_write import files_atomically
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.preprocessing.case_checks import (
    channel_names,
    check_case,
    name_files_in_errors,
    read_case,
)
from maskmed_nnu.signals import raising


class MaskMedPreprocessor(DefaultPreprocessor):
    """The same arrays as `DefaultPreprocessor`, or one sentence about what is wrong with the case.

    nnU-Net checks nothing at prediction time: a missing channel dies deep inside, NaN becomes silent background.
    """

    def run_case(
        self,
        image_files: list[str],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict | str,
    ) -> tuple[np.ndarray, np.ndarray, dict]:
        declared: Any = dataset_json
        if isinstance(declared, str):
            declared = read_json(declared, expected="a dataset.json")
        data, properties, seg = read_case(image_files, seg_file, plans_manager)
        with name_files_in_errors(image_files, seg_file):
            return self.run_case_npy(data, seg, properties, plans_manager, configuration_manager, declared)

    def run_case_npy(
        self,
        data: np.ndarray,
        seg: np.ndarray | None,
        properties: dict,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict,
    ) -> tuple[np.ndarray, np.ndarray, dict]:
        check_case(data, seg, channels=channel_names(dataset_json))
        return super().run_case_npy(data, seg, properties, plans_manager, configuration_manager, dataset_json)

    def run_case_save(self, output_filename_truncated: str, *args: Any, **kwargs: Any) -> None:
        """In a process of a pool: a signal or a full disk leaves all files of a case, or none."""
        case = Path(output_filename_truncated)
        with raising(), files_atomically(case) as folder:
            super().run_case_save(str(folder / case.name), *args, **kwargs)


def use_stock_preprocessor_without_hook(configuration: dict) -> None:
    """Without the start-up hook nnU-Net cannot find ours: the same arrays come from its own, without the checks."""
    # importing the start-up module to ask would activate it
    hooked = any(type(finder).__module__ == "maskmed_nnu._startup" for finder in sys.meta_path)
    if configuration["preprocessor_name"] == MaskMedPreprocessor.__name__ and not hooked:
        configuration["preprocessor_name"] = DefaultPreprocessor.__name__


PREPROCESSOR = MaskMedPreprocessor.__name__


def choose_preprocessor(name: str) -> str:
    """`name`, or ours: nnU-Net's command line always passes a name, and what the user chose is not its default."""
    if name != "DefaultPreprocessor":
        return name
    print(f"Preprocessor: {PREPROCESSOR}, which is nnU-Net's DefaultPreprocessor with a check of every case.")
    return PREPROCESSOR
