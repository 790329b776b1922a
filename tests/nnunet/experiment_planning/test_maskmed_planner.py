"""The planner's maskmed_rules, and the plans that come out of them."""

from __future__ import annotations

import doctest
import json
import math

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning import maskmed_rules
from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import (
    MaskMedPlanner,
    MaskMedPlannerResEncL,
    MaskMedPlannerResEncM,
)

ABDOMEN = {"shape": (100, 320, 320), "spacing": (3.0, 0.76, 0.76)}


def build(plans: dict, configuration: str, *, device: str = "meta") -> torch.nn.Module:
    manager = PlansManager(plans).get_configuration(configuration)
    with torch.device(device):
        return get_network_from_plans(
            manager.network_arch_class_name,
            manager.network_arch_init_kwargs,
            manager.network_arch_init_kwargs_req_import,
            1,
            plans["maskmed_nnu"]["num_classes"],
            deep_supervision=True,
        )


def test_examples_in_the_rules():
    assert doctest.testmod(maskmed_rules).failed == 0


@pytest.mark.parametrize(("classes", "queries"), [(1, 8), (4, 8), (5, 8), (6, 16), (14, 24), (16, 24), (105, 160)])
def test_queries(classes: int, queries: int):
    assert maskmed_rules.num_queries(classes) == queries


@pytest.mark.parametrize(
    "tokens", [[100, 50], [10**6, 9000], [10**6, 9000, 8000], [10**6, 8000, 180, 12], [4**k for k in range(9, -1, -1)]]
)
def test_levels_stay_within_budget_and_off_full_resolution(tokens: list[int]):
    asking, attended = maskmed_rules.fsad_query_levels(tokens), maskmed_rules.head_levels(tokens)
    assert asking == sorted(asking) and asking[-1] == attended[0] == len(tokens) - 1
    assert 0 not in asking and 0 not in attended
    assert 1 <= len(asking) <= 3 and 1 <= len(attended) <= 3
    assert len(asking) == 1 or sum(tokens[level] for level in asking) <= maskmed_rules.FSAD_TOKEN_BUDGET
    assert all(tokens[level] <= maskmed_rules.HEAD_TOKEN_BUDGET for level in attended[1:])
    assert attended == sorted(attended, reverse=True)


def test_two_levels_ask_where_three_are_too_many():
    assert maskmed_rules.fsad_query_levels([10**6, 60000, 7000, 800, 90]) == [2, 3, 4]
    assert maskmed_rules.fsad_query_levels([10**6, 60000, 7500, 800, 90]) == [3, 4]


def test_plan_of_a_small_data_set(make_planner, capsys):
    plans = make_planner(MaskMedPlanner).plan_experiment()
    full = plans["configurations"]["3d_fullres"]
    kwargs = full["architecture"]["arch_kwargs"]
    assert list(full["patch_size"]) == [40, 56, 40]
    assert full["architecture"]["network_class_name"] == "maskmed_nnu.networks.maskmed.MaskMed"
    assert kwargs["head_levels"] == [3, 2] and kwargs["fsad"]["query_levels"] == [2, 3]
    assert kwargs["num_queries"] == 8 and kwargs["regions"] is False
    assert full["set_loss"]["num_points"] is None
    assert full["preprocessor_name"] == "MaskMedPreprocessor"
    assert plans["plans_name"] == "MaskMedPlans" and plans["maskmed_nnu"]["num_classes"] == 3
    printed = capsys.readouterr().out
    assert "MaskMed 3d_fullres: patch 40×56×40" in printed and "8 queries: 1.5 for each of 3 classes" in printed


def test_planning_twice_gives_the_same_file(make_planner, nnunet_env):
    texts = []
    for _ in range(2):
        planner = make_planner(MaskMedPlanner)
        planner.plan_experiment()
        texts.append((nnunet_env.preprocessed / "Dataset001_Made" / "MaskMedPlans.json").read_text())
    assert texts[0] == texts[1]
    assert set(json.loads(texts[0])["configurations"]) == {"2d", "3d_fullres"}


def test_large_images(make_planner):
    """Low resolution, cascade and sampled points; and the memory target holds for the whole network."""
    planner = make_planner(MaskMedPlanner, **ABDOMEN, labels={f"l{i}" if i else "background": i for i in range(14)})
    plans = planner.plan_experiment()
    assert set(plans["configurations"]) == {"2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"}
    cascade = PlansManager(plans).get_configuration("3d_cascade_fullres").configuration
    for configuration in (plans["configurations"]["3d_fullres"], plans["configurations"]["3d_lowres"], cascade):
        assert configuration["set_loss"]["num_points"] == maskmed_rules.NUM_POINTS
        assert configuration["set_loss"]["balanced_ratio"] == 0.25
        assert configuration["architecture"]["arch_kwargs"]["num_queries"] == 24

    full = plans["configurations"]["3d_fullres"]
    whole = build(plans, "3d_fullres").compute_conv_feature_map_size(full["patch_size"])
    assert whole <= planner.UNet_reference_val_3d
    full["architecture"]["arch_kwargs"].update(fsad=None, head="pointwise")
    assert build(plans, "3d_fullres").compute_conv_feature_map_size(full["patch_size"]) < whole


def test_a_smaller_memory_target_gives_a_smaller_patch(make_planner):
    patches = []
    for gigabytes in (8, 1):
        planner = make_planner(MaskMedPlanner, shape=(72, 96, 80), gpu_memory_target_in_gb=gigabytes)
        patches.append(math.prod(planner.plan_experiment()["configurations"]["3d_fullres"]["patch_size"]))
    assert patches[1] < patches[0]


@pytest.mark.parametrize(
    ("labels", "order", "heads", "regions"),
    [
        ({"background": 0, "a": 1, "b": 2, "ignore": 3}, None, 3, False),
        ({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": [3]}, [1, 2, 3], 3, True),
        ({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, [1, 2], 2, True),
    ],
)
def test_classes_are_segmentation_heads(make_planner, labels: dict, order: list | None, heads: int, regions: bool):
    plans = make_planner(MaskMedPlanner, labels=labels, regions_class_order=order).plan_experiment()
    assert plans["maskmed_nnu"]["num_classes"] == heads
    assert plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["regions"] is regions


@pytest.mark.parametrize(
    ("planner_class", "name"),
    [(MaskMedPlannerResEncM, "MaskMedResEncMPlans"), (MaskMedPlannerResEncL, "MaskMedResEncLPlans")],
)
def test_residual_presets(make_planner, planner_class: type, name: str):
    plans = make_planner(planner_class).plan_experiment()
    assert plans["plans_name"] == name
    for configuration in plans["configurations"].values():
        assert configuration["data_identifier"].startswith(name)
        assert "n_blocks_per_stage" in configuration["architecture"]["arch_kwargs"]
        assert "head_levels" in configuration["architecture"]["arch_kwargs"]
    build(plans, "3d_fullres")


def test_a_preprocessor_that_the_user_chose_stays(make_planner):
    plans = make_planner(MaskMedPlanner, preprocessor_name="Mine", plans_name="MyPlans").plan_experiment()
    assert plans["configurations"]["2d"]["preprocessor_name"] == "Mine"
    plans = make_planner(MaskMedPlanner, preprocessor_name="DefaultPreprocessor").plan_experiment()
    assert plans["configurations"]["2d"]["preprocessor_name"] == "MaskMedPreprocessor"


def test_planning_ignores_the_number_of_loader_processes(make_planner, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    threads = torch.get_num_threads()
    make_planner(MaskMedPlanner).plan_experiment()
    assert torch.get_num_threads() == threads


def test_images_that_allow_no_downsampling(make_planner):
    with pytest.raises(InputError, match="too small for MaskMed.*patch of"):
        make_planner(MaskMedPlanner, shape=(6, 6, 6)).plan_experiment()


def test_the_planned_network_answers(make_planner):
    plans = make_planner(MaskMedPlanner, shape=(8, 16, 16)).plan_experiment()
    patch = [int(edge) for edge in plans["configurations"]["3d_fullres"]["patch_size"]]
    network = build(plans, "3d_fullres", device="cpu").eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *patch)).shape == (1, 3, *patch)
