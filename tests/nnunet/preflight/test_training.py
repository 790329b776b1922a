"""Before training: options, plans, preprocessed cases."""

from __future__ import annotations

import json

import pytest
import torch

from maskmed_nnu.nnunet.preflight import training as module
from maskmed_nnu.nnunet.preflight.training import Training, training_faults
from tests.nnunet.preflight.data_sets import plans, write_model, write_preprocessed


@pytest.fixture
def root(nnunet_env):
    return write_preprocessed(nnunet_env.preprocessed, plans())


def found(data_set="10", configuration="2d", fold="0", *, name="MaskMedPlans", device="cpu", **options) -> str:
    """All faults, a sentence each; notes are none."""
    given = Training(data_set, configuration, fold, "nnUNetTrainerMaskMed", name, device=device, **options)
    return "\n".join(fault.sentence for fault in training_faults(given) if not fault.note)


def test_what_is_right(root):
    assert found() == found("Dataset010_T") == found(fold="all") == ""


def test_data_set_and_fold(root):
    assert "data set: there is no Dataset011_… in nnUNet_preprocessed" in found("11")
    assert "take one of the existing ones, Dataset010_T" in found("Dataset011_T")
    assert "T is neither the number nor the name" in found("T")
    assert "fold: fold_0 is not a fold" in found(fold="fold_0")
    assert found(fold="3") == found(fold="7") == ""


def test_raw_data_that_were_not_preprocessed(root, nnunet_env):
    (nnunet_env.raw / "Dataset012_Raw").mkdir()
    assert "only in nnUNet_raw; run nnUNetv2_plan_and_preprocess first" in found("12")


def test_plans(root):
    (root / "._MaskMedPlans.json").write_bytes(b"\x00\x05\x16\x07\xff")  # as macOS leaves
    assert "nnUNetPlans.json: the plans file is missing; add -p with one of MaskMedPlans" in found(name="nnUNetPlans")
    assert "have no configuration '3d_fullres'; they have: 2d, 3d_cascade_fullres" in found(configuration="3d_fullres")
    (root / "MaskMedPlans.json").write_text(json.dumps(plans("Dataset010_Before")))
    assert "the plans are for a data set called Dataset010_Before" in found()
    (root / "MaskMedPlans.json").write_text("{")
    assert "MaskMedPlans.json: it is not valid JSON" in found()
    (root / "MaskMedPlans.json").write_text("[]")
    assert "MaskMedPlans.json: it holds no plans" in found()


def test_cases(root):
    data = root / "MaskMedPlans_2d"
    (data / "c0.pkl").unlink()
    assert "1 case incomplete, because the preprocessing was stopped: c0; run nnUNetv2_preprocess -d 010" in found()
    (data / "c0.pkl").touch()
    (data / "._c0.b2nd").touch()
    assert "1 file that nnU-Net does not expect among the cases: ._c0.b2nd" in found()
    (data / "._c0.b2nd").unlink()
    (root / "gt_segmentations" / "c4.nii.gz").unlink()
    assert "label maps of 1 case are missing, for the validation after training: c4.nii.gz" in found()
    (root / "splits_final.json").write_text(json.dumps([{"train": ["c0", "c4"], "val": ["c1"]}]))
    assert found() == ""  # c4 is not validated
    (data / "lost+found").mkdir()
    assert found() == ""
    (data / "lost+found").rmdir()
    for path in data.iterdir():
        path.unlink()
    assert (
        "MaskMedPlans_2d: there are no preprocessed cases; run nnUNetv2_preprocess -d 010 -plans_name Mask" in found()
    )


def test_splits_are_looked_at(root):
    (root / "splits_final.json").write_text(json.dumps([{"train": ["c0", "gone"], "val": []}]))
    assert "1 case that is not preprocessed: gone" in found() and "empty val" in found()
    assert found(fold="all") == ""


def test_a_cascade_needs_predictions_of_the_stage_before(root, nnunet_env):
    assert "5 cases without a prediction of 3d_lowres: c0" in found(configuration="3d_cascade_fullres", fold="all")
    model = nnunet_env.results / "Dataset010_T" / "nnUNetTrainerMaskMed__MaskMedPlans__3d_lowres"
    stage = model / "predicted_next_stage" / "3d_cascade_fullres"
    stage.mkdir(parents=True)
    for case in range(5):
        (stage / f"c{case}.b2nd").touch()
    assert found(configuration="3d_cascade_fullres", fold="all") == ""
    (stage / "c4.b2nd").unlink()
    (root / "splits_final.json").write_text(json.dumps([{"train": ["c0", "c1", "c2"], "val": ["c3"]}]))
    assert found(configuration="3d_cascade_fullres") == ""  # c4 is in no fold


def test_options_that_nnunet_refuses_late(root, tmp_path):
    weights = str(tmp_path / "none.pth")
    assert "none.pth does not exist" in found(pretrained_weights=weights)
    (tmp_path / "none.pth").touch()
    assert found(pretrained_weights=weights) == ""
    assert "leave out either --c or -pretrained_weights" in found(pretrained_weights=weights, continues=True)
    assert "--val: it cannot be combined with --c" in found(continues=True, validates_only=True)


def test_validation_needs_a_finished_training(root, nnunet_env):
    assert "has no checkpoint_final.pth to validate; finish the training first" in found(validates_only=True)
    write_model(nnunet_env.results, plans())
    assert found(validates_only=True) == ""
    assert "fold_all has no checkpoint_final.pth" in found(fold="all", validates_only=True)


def test_devices(root, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert found(device="cuda").startswith("-device: torch") and "add -device cpu" in found(device="cuda")
    assert "-num_gpus: 2 GPUs are requested, but -device is cpu" in found(gpus=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert found(device="cuda") == "" and "but torch sees 1 GPU" in found(device="cuda", gpus=2)


def test_a_checkpoint_that_was_cut_off(root, nnunet_env):
    fold = write_model(nnunet_env.results, plans()) / "fold_0"
    assert found(continues=True) == ""
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_latest.pth")
    (fold / "checkpoint_latest.pth").write_bytes(b"")
    assert found() == ""
    assert "fold_0/checkpoint_latest.pth: it is damaged or truncated; copy it again" in found(continues=True)


def test_room_for_checkpoints(root, monkeypatch):
    monkeypatch.setattr(module, "_number_of_weights", lambda *args: 10**16)
    assert "nnUNet_results: " in found() and "3 checkpoints (10,000,000,000,000,000 weights" in found()
    assert found(keeps_checkpoints=False) == ""


def test_weights_are_counted(make_planner):
    from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner

    planner = make_planner(SimpleUNetPlanner, shape=(1, 32, 32), spacing=(999.0, 1.0, 1.0))
    made = planner.plan_experiment()
    counted = module._number_of_weights(made, "2d", made["configurations"]["2d"], planner.dataset_json)
    assert 10_000 < counted < 10_000_000
