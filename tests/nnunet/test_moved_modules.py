"""Modules that users of version 0.1 imported are found under their old names, as the same objects."""

from __future__ import annotations

import importlib

import pytest

from maskmed_nnu.nnunet.moved_modules import MOVED


@pytest.mark.parametrize("old", MOVED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_name_is_the_module_of_today(old):
    new = importlib.import_module(f"maskmed_nnu.nnunet.{MOVED[old]}".rstrip("."))
    assert importlib.import_module(f"maskmed_nnu.nnunet.{old}") is new
    assert new.__spec__.name == new.__name__


def test_a_users_trainer_derives_from_ours_by_its_old_path(run_python):
    code = """
import warnings
warnings.simplefilter("error", UserWarning)
from maskmed_nnu.nnunet.trainers.maskmed import nnUNetTrainerMaskMed
from maskmed_nnu.nnunet.training.trainers import maskmed
from maskmed_nnu.nnunet.onnx_export import export_onnx
from maskmed_nnu.cli.image_files import find_cases
from maskmed_nnu.nnunet.preprocessor import check_case
import maskmed_nnu.nnunet.instances.reader as reader
assert nnUNetTrainerMaskMed is maskmed.nnUNetTrainerMaskMed
print(reader.InstanceIO.__module__, export_onnx.__module__, find_cases.__module__, check_case.__module__)
"""
    done = run_python(code)
    assert done.stdout.split() == [
        "maskmed_nnu.nnunet.imageio.instance_io",
        "maskmed_nnu.nnunet.model_sharing.onnx_export",
        "maskmed_nnu.nnunet.inference.input_cases",
        "maskmed_nnu.nnunet.preprocessing.case_checks",
    ]
    assert "maskmed_nnu.nnunet.trainers.maskmed is maskmed_nnu.nnunet.training.trainers.maskmed now" in done.stderr
