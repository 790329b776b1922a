"""SimpleUNet's plans: nnU-Net's own with another network in them."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.simple_unet import SimpleESKNet, SimpleUNet
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import (
    SimpleUNetPlanner,
    SimpleUNetPlanner16,
    SimpleUNetPlanner48,
    SimpleUNetPlannerESK,
)

SMALL = {"shape": (36, 50, 35)}
ABDOMEN = {"shape": (130, 512, 512), "spacing": (3.0, 0.76, 0.76)}
HEART = {"shape": (10, 256, 216), "spacing": (10.0, 1.5, 1.5)}
"""Anisotropic: kernels and strides of 1 along the first axis."""
THREE_STAGES = {"shape": (16, 16, 16)}
PHOTOGRAPHS = {"shape": (1, 1024, 768), "spacing": (999.0, 1.0, 1.0), "channels": 3}

OURS = {"architecture", "simple_unet", "preprocessor_name", "data_identifier", "mirroring"}


def build(plans: dict, configuration: str, *, channels: int = 1, device: str = "meta") -> torch.nn.Module:
    manager = PlansManager(plans).get_configuration(configuration)
    with torch.device(device):
        return get_network_from_plans(
            manager.network_arch_class_name,
            manager.network_arch_init_kwargs,
            manager.network_arch_init_kwargs_req_import,
            channels,
            3,
            deep_supervision=plans["configurations"][configuration]["simple_unet"]["deep_supervision"],
        )


def as_json(value: object) -> object:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "data",
    [SMALL, pytest.param(ABDOMEN, marks=pytest.mark.slow), HEART, THREE_STAGES, PHOTOGRAPHS],
    ids=lambda data: str(data["shape"]),
)
def test_is_nnunets_plan_with_another_network(make_planner, data: dict):
    stock = as_json(make_planner(ExperimentPlanner, **data).plan_experiment())
    ours = as_json(make_planner(SimpleUNetPlanner, **data).plan_experiment())
    assert set(ours["configurations"]) == {"2d", "3d_fullres"} & set(stock["configurations"])
    for name, configuration in ours["configurations"].items():
        expected = stock["configurations"][name]
        for key in {*configuration, *expected} - OURS:
            assert configuration[key] == expected[key], key
        kwargs, stock_kwargs = (each["architecture"]["arch_kwargs"] for each in (configuration, expected))
        for key in ("n_stages", "strides", "kernel_sizes", "conv_op"):
            assert kwargs[key] == stock_kwargs[key], key
        network = build(ours, name, channels=data.get("channels", 1)).eval()
        patch = configuration["patch_size"]
        image = torch.empty(1, data.get("channels", 1), *patch, device="meta")
        assert network(image).shape == (1, 3, *patch)
    for key in set(stock) - {"configurations", "plans_name", "experiment_planner_used"}:
        assert ours[key] == stock[key], key


def test_the_cases_are_what_they_are_meant_to_be(make_planner):
    stages = {}
    for name, data in {"heart": HEART, "three": THREE_STAGES, "photographs": PHOTOGRAPHS}.items():
        planner = make_planner(SimpleUNetPlanner, **data, plans_name=name)  # nnU-Net keeps configurations of old plans
        configurations = planner.plan_experiment()["configurations"]
        stages[name] = {key: each["architecture"]["arch_kwargs"]["strides"] for key, each in configurations.items()}
    assert [1, 2, 2] in as_json(stages["heart"]["3d_fullres"])
    assert len(stages["three"]["3d_fullres"]) == 3
    assert set(stages["photographs"]) == {"2d"} and len(stages["photographs"]["2d"]) == 8


def test_no_low_resolution_and_no_cascade(make_planner, nnunet_env):
    """nnU-Net plans both for these images; what it concludes from them for 3d_fullres stays."""
    plans = make_planner(SimpleUNetPlanner, **ABDOMEN).plan_experiment()
    assert set(plans["configurations"]) == {"2d", "3d_fullres"}
    assert plans["configurations"]["3d_fullres"]["batch_dice"] is True
    written = json.loads((nnunet_env.preprocessed / "Dataset001_Made" / "SimpleUNetPlans.json").read_text())
    assert written == as_json(plans)


@pytest.mark.parametrize(
    ("planner", "plans_name", "network", "width", "blocks"),
    [
        (SimpleUNetPlanner, "SimpleUNetPlans", SimpleUNet, 32, 1),
        (SimpleUNetPlanner16, "SimpleUNet16Plans", SimpleUNet, 16, 1),
        (SimpleUNetPlanner48, "SimpleUNet48Plans", SimpleUNet, 48, 1),
        (SimpleUNetPlannerESK, "SimpleUNetESKPlans", SimpleESKNet, 32, 2),
    ],
)
def test_presets(make_planner, planner: type, plans_name: str, network: type, width: int, blocks: int):
    plans = make_planner(planner).plan_experiment()
    assert plans["plans_name"] == plans_name and plans["experiment_planner_used"] == planner.__name__
    for name, configuration in plans["configurations"].items():
        assert configuration["data_identifier"] == f"{plans_name}_{name}"
        assert configuration["preprocessor_name"] == "MaskMedPreprocessor"
        assert configuration["simple_unet"] == {"deep_supervision": False, "learning_rate": 5e-3}
        built = build(plans, name)
        assert type(built) is network
        kwargs = configuration["architecture"]["arch_kwargs"]
        assert (kwargs["width"], kwargs["blocks_per_stage"]) == (width, blocks)
        norms = {type(module) for module in built.modules() if "Norm" in type(module).__name__}
        assert norms == {torch.nn.InstanceNorm2d if name == "2d" else torch.nn.InstanceNorm3d}


@pytest.mark.parametrize("planner", [SimpleUNetPlanner, SimpleUNetPlannerESK])
def test_every_setting_of_the_network_stands_in_the_plans(make_planner, planner: type):
    """With the network's default where it is not the preset's, so that a change of the network is seen here."""
    kwargs = make_planner(planner).plan_experiment()["configurations"]["2d"]["architecture"]["arch_kwargs"]
    settings = {}
    for each in planner.network.__mro__[:-1]:
        if each.__module__ == planner.network.__module__:
            settings.update(inspect.signature(each).parameters)
    given_by_nnunet = {"input_channels", "num_classes", "deep_supervision", "shared_arguments"}
    only_without_esk = set() if planner.network is SimpleUNet else {"early_reduction"}
    assert set(kwargs) == set(settings) - given_by_nnunet - only_without_esk
    for name in set(kwargs) - {"width", "blocks_per_stage", "norm_op_kwargs"}:
        default = settings[name].default
        assert default in (inspect.Parameter.empty, kwargs[name]), name


def test_printed_figures(make_planner, capsys):
    """Against counts of our own: of parameters, and of multiplications from what each convolution puts out."""
    plans = make_planner(SimpleUNetPlanner, **SMALL).plan_experiment()
    printed = capsys.readouterr().out
    network = build(plans, "3d_fullres", device="cpu").eval()
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 1, 40, 56, 40))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert (
        f"SimpleUNet 3d_fullres: {parameters:,} parameters, width 32, 4 stages, patch 40×56×40, batch size 2, "
        f"{macs / 1e9:.3g} GMAC per patch." in printed
    )
    assert "learning rate 0.005, deep supervision off." in printed


def test_a_preprocessor_that_the_user_chose_stays(make_planner):
    plans = make_planner(SimpleUNetPlanner, preprocessor_name="Mine", plans_name="MyPlans").plan_experiment()
    assert plans["configurations"]["2d"]["preprocessor_name"] == "Mine"
    plans = make_planner(SimpleUNetPlanner, preprocessor_name="DefaultPreprocessor").plan_experiment()
    assert plans["configurations"]["2d"]["preprocessor_name"] == "MaskMedPreprocessor"


def test_images_that_allow_no_downsampling(make_planner):
    with pytest.raises(InputError, match="Dataset001_Made are too small for SimpleUNet: .* patch of 6×6×6"):
        make_planner(SimpleUNetPlanner, shape=(6, 6, 6)).plan_experiment()
