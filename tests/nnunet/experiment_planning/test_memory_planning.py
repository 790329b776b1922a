"""The estimates that planners fill the memory by, against what a step of the trainers really keeps.

nnU-Net measures memory by its own network: a plan is as large as one of its plans with the same estimate. So a step
must keep as much, for each unit of the estimate, as a step of nnU-Net's own network does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.nnunet.discovery.class_search import find
from maskmed_nnu.nnunet.plans_handling.meta_network import feature_map_size, meta_network
from tests.instances.cells import write_cells
from tests.networks.saved import use_form_for_gpus
from tests.nnunet.training_memory import Step, step_of, trainer_of

FEW = {"background": 0, "a": 1, "b": 2}
MANY = {"background": 0, **{f"class {number}": number for number in range(1, 16)}}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2}
UNIT = {2: 2.03, 3: 2.03}
"""Numbers that a step of nnU-Net's own network keeps for each unit, by the number of axes."""
REFERENCE = {2: 85e6 * 12, 3: 560e6 * 2}
"""Units that fill the 8 GB that nnU-Net plans for."""
NNUNET_PARAMETERS = {2: 33e6, 3: 31e6}
"""Of its plans of that size, with a gradient and a momentum for each."""


class Measured(NamedTuple):
    dim: int
    step: Step
    estimate: float
    parameters: int


@pytest.fixture
def measured(nnunet_env, make_planner, monkeypatch) -> Callable[..., Measured]:
    """A step of a trainer on the plan of a small data set."""
    use_form_for_gpus(monkeypatch)

    def measure(planner: type, trainer: type, dim: int, edit: Callable[[dict], Any] | None = None, **data: Any):
        name = "2d" if dim == 2 else "3d_fullres"
        made = made_for_cells(planner, **data) if "classes" in data else make_planner(planner, **data)
        plans = json.loads(json.dumps(made.plan_experiment(), default=lambda value: value.tolist()))
        configuration = plans["configurations"][name]
        if edit is not None:
            edit(configuration)
        ready = trainer_of(trainer, plans, name, made.dataset_json)
        step = step_of(ready)
        patch = configuration["patch_size"]
        parameters = sum(parameter.numel() for parameter in ready.network.parameters())
        return Measured(dim, step, feature_map_size(ready.network, patch), parameters)

    def made_for_cells(planner: type, *, shape: tuple[int, ...], **cells: Any) -> Any:
        ending = ".nii.gz" if len(shape) == 3 else ".tif"
        folder = write_cells(nnunet_env.raw, images=2, shape=shape, ending=ending, **cells)
        preprocessed = nnunet_env.preprocessed / folder.name
        preprocessed.mkdir()
        names = ("max", "mean", "median", "min", "std", "percentile_00_5", "percentile_99_5")
        fingerprint = {
            "spacings": [[1, 1, 1] if len(shape) == 3 else [999, 1, 1]] * 3,
            "shapes_after_crop": [[1, *shape][-3:]] * 3,
            "foreground_intensity_properties_per_channel": {"0": dict.fromkeys(names, 1.0)},
            "median_relative_size_after_cropping": 1.0,
        }
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        return planner(11)

    return measure


def supervised_deeply(configuration: dict) -> None:
    for section in ("simple_unet", "maskattn_unet"):
        if section in configuration:
            configuration[section]["deep_supervision"] = True


def at_points(configuration: dict) -> None:
    configuration["set_loss"]["num_points"] = 1500


FEW_CELLS, LABELLED = {"shape": (64, 72), "classes": 1}, {"shape": (64, 72), "classes": 3}
VOLUME, SLICES, CELLS = {"shape": (20, 28, 28)}, {"shape": (20, 40, 44)}, {"shape": (256, 256), "classes": 1}
CASES = {
    "MaskMed 3d": ("MaskMedPlanner", "nnUNetTrainerMaskMed", 3, VOLUME, None),
    "MaskMed 3d, 16 classes": ("MaskMedPlanner", "nnUNetTrainerMaskMed", 3, {**VOLUME, "labels": MANY}, None),
    "MaskMed 2d": ("MaskMedPlanner", "nnUNetTrainerMaskMed", 2, SLICES, None),
    "SimpleUNet 3d": ("SimpleUNetPlanner", "nnUNetTrainerSimpleUNet", 3, VOLUME, None),
    "SimpleUNet 3d, 16 classes": ("SimpleUNetPlanner", "nnUNetTrainerSimpleUNet", 3, {**VOLUME, "labels": MANY}, None),
    "SimpleUNet 3d, deep": ("SimpleUNetPlanner", "nnUNetTrainerSimpleUNet", 3, VOLUME, supervised_deeply),
    "SimpleUNet 2d": ("SimpleUNetPlanner16", "nnUNetTrainerSimpleUNet", 2, SLICES, None),
    "MaskAttnUNet": ("MaskAttnUNetPlanner", "nnUNetTrainerMaskAttnUNet", 2, SLICES, None),
    "MaskAttnUNet, deep": ("MaskAttnUNetPlanner", "nnUNetTrainerMaskAttnUNet", 2, SLICES, supervised_deeply),
    "MaskAttnUNet, objects": ("MaskAttnUNetPlanner", "nnUNetTrainerMaskAttnUNetInstance", 2, FEW_CELLS, None),
    "MaskAttnUNet, panoptic": ("MaskAttnUNetPlanner", "nnUNetTrainerMaskAttnUNetPanoptic", 2, LABELLED, None),
    "IAUNet 2d": ("IAUNetPlanner", "nnUNetTrainerIAUNet", 2, CELLS, None),
    "IAUNet 2d, 3 classes": ("IAUNetPlanner", "nnUNetTrainerIAUNet", 2, {**CELLS, "classes": 3}, None),
    "IAUNet 3d": ("IAUNetPlanner", "nnUNetTrainerIAUNet", 3, {"shape": (32, 64, 64), "classes": 1}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_keeps_what_the_planner_estimates(measured, name):
    planner, trainer, dim, data, edit = CASES[name]
    found = measured(find("planner", planner), find("trainer", trainer), dim, edit, **data)
    assert UNIT[dim] * found.estimate == pytest.approx(found.step.stored, rel=0.1)


def test_a_plan_that_fills_the_memory(make_planner):
    """With weights, gradients and the optimizer's state it takes no more than nnU-Net's own plans."""
    planner = find("planner", "MaskMedPlanner")
    plans = make_planner(planner, shape=(72, 200, 200), labels=MANY, cases=500).plan_experiment()
    for dim, name in ((2, "2d"), (3, "3d_fullres")):
        configuration = plans["configurations"][name]
        network = meta_network(*configuration["architecture"].values(), 1, len(MANY))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        units = configuration["batch_size"] * feature_map_size(network, configuration["patch_size"])
        assert 0.7 * REFERENCE[dim] < units, "the memory is what bounds it"
        assert UNIT[dim] * units + 4 * parameters < 1.1 * (UNIT[dim] * REFERENCE[dim] + 3 * NNUNET_PARAMETERS[dim])


@pytest.mark.parametrize("dim", [2, 3])
def test_a_step_of_nnunets_own_network(measured, dim):
    found = measured(ExperimentPlanner, nnUNetTrainer, dim, **(SLICES if dim == 2 else VOLUME))
    assert found.step.stored / found.estimate == pytest.approx(UNIT[dim], rel=0.02)
    assert found.step.fixed == 3 * found.parameters
