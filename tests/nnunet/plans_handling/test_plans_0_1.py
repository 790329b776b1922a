"""Plans of version 0.1 are understood as they are."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.discovery.class_search import find
from maskmed_nnu.nnunet.discovery.trainer_choice import trainers_of
from maskmed_nnu.nnunet.plans_handling import checks
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from maskmed_nnu.nnunet.plans_handling.label_manager import InstanceLabelManager
from maskmed_nnu.nnunet.plans_handling.validation import validate_plans
from tests.nnunet.plans_0_1 import FILES, network_of, plans_of_version_0_1

SEMANTIC = LabelManager({"background": 0, "Anterior": 1, "Posterior": 2}, None)
OBJECTS = LabelManager({"background": 0, "nucleus": 1}, None)


@pytest.fixture(params=[(name, one) for name in FILES for one in plans_of_version_0_1(name)["configurations"]], ids=str)
def planned(request) -> tuple[dict, str]:
    """Plans, and the name of one of their configurations."""
    name, configuration = request.param
    return plans_of_version_0_1(name), configuration


def test_they_are_valid_and_complete(planned):
    plans, name = planned
    before, resolved = copy.deepcopy(plans), resolve_configuration(plans, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate_plans(plans, resolved, network_of(resolved))
    assert plans == before


def test_trainers_accept_them(planned):
    plans, name = planned
    resolved = resolve_configuration(plans, name)
    network, planner = resolved["architecture"]["network_class_name"].rpartition(".")[2], network_of(resolved).planner
    objects = "instances" in resolved
    if network == "MaskMed":
        checks.check_maskmed_plans(plans, resolved, num_heads=SEMANTIC.num_segmentation_heads)
        checks.check_regions(plans, resolved, has_regions=SEMANTIC.has_regions)
    elif network == "IAUNet":
        checks.check_iaunet_plans(plans, resolved)
    elif network == "MaskAttnUNet":
        checks.check_maskattn_plans(plans, resolved, objects=objects)
    else:
        checks.check_simple_unet_plans(plans, resolved)
    if objects:
        checks.check_instance_labels(plans, resolved, labels=OBJECTS, planner=planner)


def test_their_networks_are_built(planned):
    plans, name = planned
    configuration = PlansManager(plans).get_configuration(name)
    with torch.device("meta"):
        network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            2,
            allow_init=False,
        )
    assert network.compute_conv_feature_map_size(tuple(configuration.patch_size)) > 0


def test_trainers_and_predictor_build_no_network_of_edited_plans(planned):
    plans, name = planned
    manager = PlansManager(plans)
    configuration = manager.get_configuration(name)
    configuration.configuration["architecture"]["arch_kwargs"]["strides"] = [[2, "2"]]
    kind = configuration.configuration["architecture"]["network_class_name"]
    for trainer in trainers_of(kind, objects="instances" in configuration.configuration):
        with pytest.raises(InputError, match="set arch_kwargs.strides to .*; legal is a list of"):
            find("trainer", trainer).build_network_architecture(manager, configuration, 1, 3, False)


def test_the_names_in_them_lead_somewhere(planned):
    plans, name = planned
    configuration = resolve_configuration(plans, name)
    objects = "instances" in configuration
    assert find("planner", plans["experiment_planner_used"]) is not None
    assert find("preprocessor", configuration["preprocessor_name"]) is not None
    for trainer in trainers_of(configuration["architecture"]["network_class_name"], objects=objects):
        assert find("trainer", trainer) is not None
    assert find("label manager", plans["label_manager"]) is (InstanceLabelManager if objects else None)
    manager = PlansManager(plans)
    assert manager.label_manager_class is (InstanceLabelManager if objects else LabelManager)
    assert manager.image_reader_writer_class.__name__ == ("InstanceIO" if objects else "SimpleITKIO")
    assert manager.get_configuration(name).preprocessor_class is find(
        "preprocessor", configuration["preprocessor_name"]
    )
