"""Plain labels, regions, an ignore label and both, in 2D and 3D, and a cascade: two epochs and a prediction each.

What differs in one respect from others is slow: `make test-slow` runs it.

In one process and without nnU-Net's worker pools; `test_commands.py` runs the commands themselves.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tiny_data import SCENARIOS, SHAPE, shrink_plans, write_dataset
from tiny_trainer import nnUNetTrainerMaskMedTiny

from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner, MaskMedPlannerResEncM
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import MaskMedPreprocessor

NAME = "Dataset102_Scenario"
CASES = 5  # nnU-Net splits them into five folds
CPU = torch.device("cpu")


@pytest.fixture
def folders(workspace_here, monkeypatch):
    monkeypatch.setitem(NAMES["trainer"], "nnUNetTrainerMaskMedTiny", "tiny_trainer:nnUNetTrainerMaskMedTiny")
    return workspace_here


@pytest.fixture
def workspace_here(nnunet_env, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return nnunet_env


def plan(folders, scenario: str, *, planner: type = MaskMedPlanner, lowres: bool = False) -> dict:
    """Raw data, fingerprint, plans of toy size."""
    raw = write_dataset(folders.raw, NAME, scenario=scenario, cases=CASES)
    analyzed = [
        DatasetFingerprintExtractor.analyze_case(
            [str(raw / "imagesTr" / f"case_{case:02d}_0000.nii.gz")],
            str(raw / "labelsTr" / f"case_{case:02d}.nii.gz"),
            SimpleITKIO,
        )
        for case in range(CASES)
    ]
    intensities = np.concatenate([np.ravel(result[2][0]) for result in analyzed])
    statistics = {key: float(getattr(np, key)(intensities)) for key in ("mean", "median", "std", "min", "max")}
    statistics.update(percentile_00_5=statistics["min"], percentile_99_5=statistics["max"])
    fingerprint = {
        "shapes_after_crop": [[int(edge) for edge in result[0]] for result in analyzed],
        "spacings": [[float(edge) for edge in result[1]] for result in analyzed],
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "median_relative_size_after_cropping": 1.0,
    }
    folder = folders.preprocessed / NAME
    folder.mkdir()
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    made = planner(102)
    made.plan_experiment()
    file = folder / f"{made.plans_identifier}.json"
    shrink_plans(file, lowres=lowres)
    return json.loads(file.read_text())


def preprocess(folders, plans: dict, configuration: str) -> None:
    manager = PlansManager(plans)
    output = folders.preprocessed / NAME / manager.get_configuration(configuration).data_identifier
    output.mkdir(exist_ok=True)
    raw = folders.raw / NAME
    for image in sorted((raw / "imagesTr").glob("*.nii.gz")):
        case = image.name.removesuffix("_0000.nii.gz")
        MaskMedPreprocessor(verbose=False).run_case_save(
            str(output / case),
            [str(image)],
            str(raw / "labelsTr" / f"{case}.nii.gz"),
            manager,
            manager.get_configuration(configuration),
            json.loads((raw / "dataset.json").read_text()),
        )


def train(folders, plans: dict, configuration: str) -> nnUNetTrainerMaskMedTiny:
    dataset = json.loads((folders.raw / NAME / "dataset.json").read_text())
    trainer = nnUNetTrainerMaskMedTiny({**plans, "continue_training": False}, configuration, 0, dataset, CPU)
    trainer.run_training()
    losses = trainer.logger.get_value("train_losses", step=None)
    assert len(losses) == 2 and np.isfinite(losses).all()
    return trainer


def predict(folders, trainer, output: Path, *, previous: Path | None = None) -> np.ndarray:
    """Label map of the test case, predicted from the files that training has left."""
    predictor = nnUNetPredictor(device=CPU, allow_tqdm=False, use_mirroring=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,))
    output.mkdir()
    predictor.predict_from_files_sequential(
        str(folders.raw / NAME / "imagesTs"),
        str(output),
        save_probabilities=True,
        folder_with_segs_from_prev_stage=None if previous is None else str(previous),
    )
    labels = trainer.label_manager
    probabilities = np.load(output / f"case_{CASES:02d}.npz")["probabilities"]
    assert probabilities.shape == (labels.num_segmentation_heads, *SHAPE)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if not labels.has_regions:
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=2e-3)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(output / f"case_{CASES:02d}.nii.gz")))
    assert found.shape == SHAPE and set(np.unique(found)) <= {0, 1, 2}
    return found


FAST = {("regions_ignore", "2d")}


@pytest.mark.parametrize(
    ("scenario", "configuration"),
    [
        pytest.param(scenario, configuration, marks=() if (scenario, configuration) in FAST else pytest.mark.slow)
        for scenario in SCENARIOS
        for configuration in ("2d", "3d_fullres")
    ],
)
def test_label_scenarios(folders, tmp_path, scenario: str, configuration: str):
    plans = plan(folders, scenario)
    assert plans["configurations"][configuration]["architecture"]["arch_kwargs"]["regions"] == ("regions" in scenario)
    preprocess(folders, plans, configuration)
    predict(folders, train(folders, plans, configuration), tmp_path / "out")


@pytest.mark.slow
def test_residual_encoder(folders, tmp_path):
    plans = plan(folders, "plain", planner=MaskMedPlannerResEncM)
    preprocess(folders, plans, "3d_fullres")
    predict(folders, train(folders, plans, "3d_fullres"), tmp_path / "out")


@pytest.mark.slow
def test_cascade(folders, tmp_path):
    """3d_lowres leaves its validation for the next stage, which is trained and predicts with it."""
    plans = plan(folders, "plain", lowres=True)
    for configuration in ("3d_lowres", "3d_fullres"):
        preprocess(folders, plans, configuration)
    shutil.copytree(folders.raw / NAME / "labelsTr", folders.preprocessed / NAME / "gt_segmentations")
    lowres = train(folders, plans, "3d_lowres")
    lowres.perform_actual_validation()
    stage = Path(lowres.output_folder_base) / "predicted_next_stage" / "3d_cascade_fullres"
    for case in range(CASES):  # a user trains all five folds; here the one fold's validation stands for them
        written = sorted(stage.glob("*.b2nd"))
        target = stage / f"case_{case:02d}.b2nd"
        if not target.exists():
            target.write_bytes(written[0].read_bytes())
    predict(folders, lowres, tmp_path / "lowres")
    cascade = train(folders, plans, "3d_cascade_fullres")
    assert cascade.is_cascaded and cascade.num_input_channels == 3  # the image, and a map per foreground label
    predict(folders, cascade, tmp_path / "cascade", previous=tmp_path / "lowres")
