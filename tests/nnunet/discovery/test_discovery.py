"""nnU-Net's searches by name: ours first, its own after, one sentence for what nobody has."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
import sys
import types

import nnunetv2
import pytest
import torch
from nnunetv2.experiment_planning import plan_and_preprocess_api, plan_and_preprocess_entrypoints
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.reader_writer_registry import (
    determine_reader_writer_from_dataset_json,
    recursive_find_reader_writer_by_name,
)
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.utils import recursive_find_resampling_fn_by_name
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import LabelManager, get_labelmanager_class_from_plans

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery import class_search, training_length
from maskmed_nnu.nnunet.discovery.names import NAMES

BASES = {
    "planner": ExperimentPlanner,
    "trainer": nnUNetTrainer,
    "preprocessor": DefaultPreprocessor,
    "label manager": LabelManager,
    "reader": BaseReaderWriter,
}


def search(package: str, name: str):
    """nnU-Net's own call, as in its planning and plans handling."""
    folder = os.path.join(nnunetv2.__path__[0], *package.split(".")[1:])
    return plan_and_preprocess_api.recursive_find_python_class(folder, name, current_module=package)


class StubLabelManager(LabelManager):
    pass


class StubReader(NibabelIO):
    pass


def stub_resampling(data, *args, **kwargs):
    return data


class StubTrainer(nnUNetTrainer):
    """Takes nnU-Net's arguments and builds nothing."""

    minutes = None

    def __init__(self, plans, configuration, fold, dataset_json, device=None):
        # what nnU-Net's trainer does first, and fails at where the signature has other names
        arguments = locals()
        self.my_init_kwargs = {key: arguments[key] for key in inspect.signature(self.__init__).parameters}
        self.num_epochs = 1000


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more name of each kind, in a module that can be imported by name."""
    module = types.ModuleType("maskmed_stubs")
    monkeypatch.setitem(sys.modules, "maskmed_stubs", module)
    stubs = {
        "label manager": StubLabelManager,
        "reader": StubReader,
        "resampling function": stub_resampling,
        "trainer": StubTrainer,
    }
    for kind, stub in stubs.items():
        setattr(module, stub.__name__, stub)
        monkeypatch.setitem(NAMES[kind], stub.__name__, f"maskmed_stubs:{stub.__name__}")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in NAMES for name in NAMES[kind]])
def test_every_registered_name_is_a_class_of_that_name_and_kind(kind, name):
    found = class_search.find(kind, name)
    assert found.__name__ == name
    assert issubclass(found, BASES[kind])
    assert pickle.loads(pickle.dumps(found)) is found


def test_nnunet_finds_our_planners_trainers_and_preprocessors():
    for name in NAMES["planner"]:
        assert search("nnunetv2.experiment_planning", name).__name__ == name
    for name in NAMES["trainer"]:
        assert recursive_find_trainer_class_by_name(name).__name__ == name
    for name in NAMES["preprocessor"]:
        assert search("nnunetv2.preprocessing", name).__name__ == name


def test_nnunet_finds_label_managers_readers_and_resampling_functions(stubs):
    assert get_labelmanager_class_from_plans({"label_manager": "StubLabelManager"}) is StubLabelManager
    assert recursive_find_reader_writer_by_name("StubReader") is StubReader
    dataset = {"overwrite_image_reader_writer": "StubReader", "file_ending": ".nii.gz"}
    assert determine_reader_writer_from_dataset_json(dataset, verbose=False) is StubReader
    assert recursive_find_resampling_fn_by_name("stub_resampling") is stub_resampling


def test_nnunets_own_names_are_still_found():
    assert search("nnunetv2.experiment_planning", "ExperimentPlanner") is ExperimentPlanner
    assert search("nnunetv2.preprocessing", "DefaultPreprocessor") is DefaultPreprocessor
    assert recursive_find_reader_writer_by_name("SimpleITKIO") is SimpleITKIO
    assert get_labelmanager_class_from_plans({"label_manager": "LabelManager"}) is LabelManager
    assert callable(recursive_find_resampling_fn_by_name("resample_data_or_seg_to_shape"))


def test_our_names_are_answered_without_the_stock_search():
    stock_must_not_run = types.SimpleNamespace(recursive_find_python_class=None)
    class_search.wrap_class_finder(stock_must_not_run)
    finder = stock_must_not_run.recursive_find_python_class
    assert finder("nowhere", "nnUNetTrainerMaskMed", class_search.TRAINER_PACKAGE).__name__ == "nnUNetTrainerMaskMed"
    assert finder("nowhere", "nnUNetTrainerMaskMed_3epochs", class_search.TRAINER_PACKAGE).__name__.endswith("_3epochs")
    assert finder("nowhere", "MaskMedPlanner", "nnunetv2.experiment_planning").__name__ == "MaskMedPlanner"


@pytest.mark.parametrize(
    ("package", "name", "expected"),
    [
        ("nnunetv2.experiment_planning", "MaskMedPlaner", "planner.*'MaskMedPlaner'.*mean MaskMedPlanner.*ResEncL"),
        ("nnunetv2.experiment_planning", "nnUNetPlannerResEncMM", "mean nnUNetPlannerResEncM"),
        ("nnunetv2.experiment_planning", "nnUNetTrainerMaskMed_5epochs", "it is maskmed_nnu's trainer"),
        ("nnunetv2.preprocessing", "MaskMedPreprocesor", "preprocessor.*mean MaskMedPreprocessor"),
        ("nnunetv2.utilities.label_handling", "LabelManger", "label manager.*mean LabelManager"),
        ("nnunetv2.preprocessing.resampling", "resample_nothing", "resampling function 'resample_nothing'"),
    ],
)
def test_unknown_name_gets_one_sentence(package, name, expected):
    with pytest.raises(InputError, match=expected) as caught:
        search(package, name)
    assert "\n" not in str(caught.value)


def test_an_unknown_planner_is_told_before_the_fingerprint_is_extracted(nnunet_env, monkeypatch):
    """With nnU-Net's own order the sentence would come after hours."""
    arguments = "nnUNetv2_plan_and_preprocess -d 987 -c 2d 3d_fullres -pl MaskMedPlaner --verify_dataset_integrity"
    monkeypatch.setattr(sys, "argv", arguments.split())
    with pytest.raises(SystemExit, match="Unknown planner.*did you mean MaskMedPlanner"):
        plan_and_preprocess_entrypoints.plan_and_preprocess_entry()
    monkeypatch.setattr(sys, "argv", [a.replace("Planer", "Planner") for a in arguments.split()])
    with pytest.raises(SystemExit, match="-d 987: there is no Dataset987"):
        plan_and_preprocess_entrypoints.plan_and_preprocess_entry()


def test_unknown_reader_is_left_to_nnunet_which_goes_by_the_file_ending():
    with pytest.raises(RuntimeError, match="Unable to find reader"):
        recursive_find_reader_writer_by_name("NoReader")
    dataset = {"overwrite_image_reader_writer": "NoReader", "file_ending": ".nii.gz"}
    assert determine_reader_writer_from_dataset_json(dataset, verbose=False) is SimpleITKIO


def test_other_searches_keep_their_none():
    folder = os.path.join(nnunetv2.__path__[0], "preprocessing", "normalization")
    finder = plan_and_preprocess_api.recursive_find_python_class
    assert finder(folder, "NoSuchNormalization", "nnunetv2.preprocessing.normalization") is None


def test_unknown_trainer_gets_one_sentence(torchvision_ops, monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    with pytest.raises(InputError, match=r"trainer 'nnUNetTrainerMaskMd_7epochs'.*mean nnUNetTrainerMaskMed.*<N>"):
        recursive_find_trainer_class_by_name("nnUNetTrainerMaskMd_7epochs")
    with pytest.raises(InputError, match="it is maskmed_nnu's planner"):
        recursive_find_trainer_class_by_name("MaskMedPlanner")


def test_unknown_trainer_is_looked_for_in_the_external_folders_first(torchvision_ops, monkeypatch, tmp_path):
    base = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
    (tmp_path / "outside.py").write_text(base + "class nnUNetTrainerOutside(nnUNetTrainer):\n    pass\n")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    assert recursive_find_trainer_class_by_name("nnUNetTrainerOutside").__name__ == "nnUNetTrainerOutside"
    with pytest.raises(InputError, match=f"not in nnUNet_extTrainer={tmp_path}"):
        recursive_find_trainer_class_by_name("nnUNetTrainerNowhere")


def test_stock_trainers_are_found(torchvision_ops):
    assert recursive_find_trainer_class_by_name("nnUNetTrainer_5epochs").__name__ == "nnUNetTrainer_5epochs"


def test_search_stopped_by_torchvision_names_both_facts():
    def dies(folder, class_name, current_module):
        raise RuntimeError("operator torchvision::nms does not exist")

    module = types.SimpleNamespace(recursive_find_python_class=dies)
    class_search.wrap_class_finder(module)
    with pytest.raises(InputError, match="no trainer 'nnUNetTrainerX'.*torchvision::nms.*install the") as caught:
        module.recursive_find_python_class("nowhere", "nnUNetTrainerX", class_search.TRAINER_PACKAGE)
    assert "\n" not in str(caught.value)


def test_other_errors_of_the_stock_search_pass_unchanged():
    def dies(folder, class_name, current_module):
        raise RuntimeError("a bug in somebody's trainer")

    module = types.SimpleNamespace(recursive_find_python_class=dies)
    class_search.wrap_class_finder(module)
    with pytest.raises(RuntimeError, match="somebody's trainer"):
        module.recursive_find_python_class("nowhere", "nnUNetTrainerX", class_search.TRAINER_PACKAGE)


def test_epochs_suffix_sets_the_number_of_epochs_and_keeps_nnunets_signature(stubs):
    seven = recursive_find_trainer_class_by_name("StubTrainer_7epochs")
    assert issubclass(seven, StubTrainer)
    assert list(inspect.signature(seven).parameters) == list(inspect.signature(nnUNetTrainer).parameters)
    assert inspect.signature(seven).parameters["device"].default == torch.device("cuda")
    trainer = seven({}, "2d", fold=0, dataset_json={}, device=torch.device("cpu"))
    assert trainer.num_epochs == 7
    assert trainer.my_init_kwargs["device"] == torch.device("cpu")
    assert trainer.__class__.__name__ == "StubTrainer_7epochs"
    assert training_length.trainer_of_length("StubTrainer_1epoch")({}, "2d", 0, {}).num_epochs == 1


def test_minutes_suffix_gives_minutes_and_leaves_the_epochs_to_the_trainer(stubs):
    trainer = training_length.trainer_of_length("StubTrainer_12minutes")({}, "2d", 0, {})
    assert (trainer.minutes, trainer.num_epochs) == (12, 1000)
    assert pickle.loads(pickle.dumps(type(trainer))) is type(trainer)


def test_minutes_are_refused_of_a_trainer_that_counts_epochs():
    assert training_length.trainer_of_length("nnUNetTrainerMirrorAware_5epochs") is not None
    with pytest.raises(InputError, match="trains for epochs, not for minutes: name nnUNetTrainerMirrorAware_<N>epochs"):
        recursive_find_trainer_class_by_name("nnUNetTrainerMirrorAware_5minutes")


def test_epochs_suffix_is_refused_where_it_makes_no_sense():
    for name in ("nnUNetTrainer_7epochs", "nnUNetTrainerMaskMed_0epochs", "nnUNetTrainerMaskMed_epochs", "Nobody"):
        assert training_length.trainer_of_length(name) is None
        assert not hasattr(training_length, name)


@pytest.mark.parametrize("name", ["nnUNetTrainerMaskMed", "nnUNetTrainerMaskMedDemo_3epochs"])
def test_spawned_child_finds_our_trainer_and_sends_it_back(name):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(recursive_find_trainer_class_by_name, (name,)) is class_search.find("trainer", name)


def test_wrapped_functions_still_look_like_nnunets_own():
    finder = plan_and_preprocess_api.recursive_find_python_class
    assert finder.__module__ == "nnunetv2.utilities.find_class_by_name"
    assert list(inspect.signature(finder).parameters)[:3] == ["folder", "class_name", "current_module"]
    assert not hasattr(finder.__wrapped__, "__wrapped__")  # wrapped once
