"""Plans of ours in the hands of another trainer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery import trainer_choice
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlanner
from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner, SimpleUNetPlannerESK
from maskmed_nnu.nnunet.plans_handling.settings.networks import NETWORKS
from maskmed_nnu.nnunet.training.trainers.simple_unet import nnUNetTrainerSimpleUNet

CPU = torch.device("cpu")


def made(trainer_class: type, planner) -> nnUNetTrainer:
    """What nnU-Net's command builds."""
    plans = {**planner.plan_experiment(), "continue_training": False}
    module = SimpleNamespace(get_trainer_from_args=lambda: trainer_class(plans, "2d", 0, planner.dataset_json, CPU))
    trainer_choice.wrap_training(module)
    return module.get_trainer_from_args()


@pytest.mark.parametrize(
    ("planner", "expected"),
    [
        (MaskMedPlanner, "MaskMed, which nnUNetTrainer does not train: add -tr nnUNetTrainerMaskMed"),
        (SimpleUNetPlanner, "SimpleUNet, .* add -tr nnUNetTrainerSimpleUNet"),
        (SimpleUNetPlannerESK, "SimpleESKNet, .* add -tr nnUNetTrainerSimpleUNet"),
        (MaskAttnUNetPlanner, "MaskAttnUNet, .* add -tr nnUNetTrainerMaskAttnUNet"),
    ],
)
def test_a_forgotten_trainer_is_named(make_planner, planner, expected):
    with pytest.raises(InputError, match=expected + r"\.$"):
        made(nnUNetTrainer, make_planner(planner, shape=(1, 32, 32), spacing=(999.0, 1.0, 1.0)))


def test_of_objects(make_cell_planner):
    with pytest.raises(InputError, match="add -tr nnUNetTrainerMaskAttnUNetInstance or nnUNetTrainerMaskAttnUNetPan"):
        made(nnUNetTrainer, make_cell_planner(MaskAttnUNetPlanner))


def test_what_belongs_together_passes(make_planner):
    images = {"shape": (1, 32, 32), "spacing": (999.0, 1.0, 1.0)}
    assert type(made(nnUNetTrainer, make_planner(ExperimentPlanner, **images))) is nnUNetTrainer
    assert made(nnUNetTrainerSimpleUNet, make_planner(SimpleUNetPlanner, **images)).initial_lr > 0


def test_the_names_are_those_of_trainers():
    networks = [name for network in NETWORKS for name in network.classes]
    for network in networks:
        for objects in (False, True):
            named = trainer_choice.trainers_of(network, objects=objects)
            assert named and set(named) <= set(NAMES["trainer"])
