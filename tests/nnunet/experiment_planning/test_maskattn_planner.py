"""MaskAttn-UNet's plans, of labels and of objects."""

from __future__ import annotations

import doctest
import inspect
import json
import math
from collections.abc import Callable

import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import MaskAttention
from maskmed_nnu.networks.maskattn_unet import MaskAttnUNet
from maskmed_nnu.nnunet.experiment_planning import maskattn_rules
from maskmed_nnu.nnunet.experiment_planning.instance_fingerprint import FINGERPRINT_KEYS
from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlanner, MaskAttnUNetPlannerLowRes
from tests.instances.cells import write_cells

PHOTOGRAPHS = {"shape": (1, 512, 384), "spacing": (999.0, 1.0, 1.0), "channels": 3}
ABDOMEN = {"shape": (130, 512, 512), "spacing": (3.0, 0.76, 0.76)}
SMALL = {"shape": (1, 64, 50), "spacing": (999.0, 0.5, 0.5)}
OURS = {
    "architecture",
    "maskattn_unet",
    "mirroring",
    "preprocessor_name",
    "data_identifier",
    "patch_size",
    "batch_size",
}


def build(plans: dict, *, channels: int = 1, classes: int = 3, device: str = "meta") -> torch.nn.Module:
    manager = PlansManager(plans).get_configuration("2d")
    with torch.device(device):
        return get_network_from_plans(
            manager.network_arch_class_name,
            manager.network_arch_init_kwargs,
            manager.network_arch_init_kwargs_req_import,
            channels,
            classes,
            deep_supervision=False,
        )


def as_json(value: object) -> object:
    return json.loads(json.dumps(value))


def test_examples():
    assert doctest.testmod(maskattn_rules).failed == 0


# ------------------------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    "data",
    [PHOTOGRAPHS, pytest.param(ABDOMEN, marks=pytest.mark.slow), SMALL],
    ids=lambda data: str(data["shape"]),
)
def test_is_nnunets_plan_of_images_with_another_network(make_planner, data: dict):
    stock = as_json(make_planner(ExperimentPlanner, **data).plan_experiment())
    planner = make_planner(MaskAttnUNetPlanner, **data)
    ours = as_json(planner.plan_experiment())
    assert set(ours["configurations"]) == {"2d"}
    plan, expected = ours["configurations"]["2d"], stock["configurations"]["2d"]
    for key in {*plan, *expected} - OURS:
        assert plan[key] == expected[key], key
    for key in set(stock) - {"configurations", "plans_name", "experiment_planner_used"}:
        assert ours[key] == stock[key], key
    assert plan["maskattn_unet"] == {"learning_rate": 5e-4, "deep_supervision": False}
    assert plan["preprocessor_name"] == "MaskMedPreprocessor"

    network, patch, channels = (
        build(ours, channels=data.get("channels", 1)),
        plan["patch_size"],
        data.get("channels", 1),
    )
    # nnU-Net's measure: 12 samples of the reference fit into 8 GB, and batches are rounded
    size = network.compute_conv_feature_map_size(patch)
    assert (plan["batch_size"] - 0.5) * size <= 12 * planner.UNet_reference_val_2d
    assert network.eval()(torch.empty(1, channels, *patch, device="meta")).shape == (1, 3, *patch)
    kwargs = plan["architecture"]["arch_kwargs"]
    assert kwargs["features_per_stage"] == [64, 128, 256, 256] and kwargs["embedding_dim"] == 0


def test_no_position_attends_to_more_keys_than_the_rule_says(make_planner):
    for name, data in {"photographs": PHOTOGRAPHS, "small": SMALL}.items():
        plans = make_planner(MaskAttnUNetPlanner, **data, plans_name=name).plan_experiment()
        network, keys = build(plans, channels=data.get("channels", 1)).eval(), []

        def note(module, inputs, keys=keys):
            keys.append(math.prod(math.ceil(edge / module.key_stride) for edge in inputs[0].shape[2:]))

        attention = [module for module in network.modules() if isinstance(module, MaskAttention)]
        for module in attention:
            module.register_forward_pre_hook(note)
        patch = [int(edge) for edge in plans["configurations"]["2d"]["patch_size"]]
        network(torch.empty(1, data.get("channels", 1), *patch, device="meta"))
        assert len(keys) == 7 and max(keys) <= maskattn_rules.MAX_KEYS


def test_a_smaller_memory_target_gives_a_smaller_patch(make_planner):
    patches = [
        math.prod(
            make_planner(
                MaskAttnUNetPlanner, **PHOTOGRAPHS, gpu_memory_target_in_gb=memory, plans_name=f"Plans{memory}"
            ).plan_experiment()["configurations"]["2d"]["patch_size"]
        )
        for memory in (8, 2)
    ]
    assert patches[1] < patches[0] / 2


@pytest.mark.parametrize(
    ("data", "spacing", "image"),
    [(PHOTOGRAPHS, [4.0, 4.0], [128, 96]), (SMALL, [0.25, 0.25], [128, 100]), (ABDOMEN, [3.04, 3.04], [128, 128])],
    ids=["photographs", "small", "abdomen"],
)
def test_low_resolution_is_128_pixels_on_the_longest_side(make_planner, data: dict, spacing: list, image: list):
    plans = as_json(make_planner(MaskAttnUNetPlannerLowRes, **data).plan_experiment())
    plan = plans["configurations"]["2d"]
    assert plans["plans_name"] == "MaskAttnUNetLowResPlans" and plan["data_identifier"] == "MaskAttnUNetLowResPlans_2d"
    assert plan["spacing"] == pytest.approx(spacing) and plan["patch_size"] == [128, 128]
    assert plan["median_image_size_in_voxels"] == pytest.approx(image)
    assert plan["architecture"]["arch_kwargs"]["key_strides"] == [8, 4, 2, 1]


def test_low_resolution_takes_no_spacing(make_planner):
    with pytest.raises(InputError, match="MaskAttnUNetPlannerLowRes resizes images to 128 pixels.*MaskAttnUNetPlanner"):
        make_planner(MaskAttnUNetPlannerLowRes, **PHOTOGRAPHS, overwrite_target_spacing=[999.0, 1.0, 1.0])


def test_printed_figures(make_planner, capsys):
    """Against counts of our own: of parameters, and of multiplications from what each layer takes and puts out."""
    plans = make_planner(MaskAttnUNetPlanner, shape=(1, 32, 32), spacing=(999.0, 1.0, 1.0)).plan_experiment()
    printed = capsys.readouterr().out
    network = build(plans, device="cpu").eval()
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        if isinstance(module, MaskAttention):
            channels, positions = output.shape[1], output[0, 0].numel()
            keys = math.prod(math.ceil(edge / module.key_stride) for edge in output.shape[2:])
            # scores need a channel more for the mask, rounded up to a multiple of 8; so do the values
            macs += 2 * positions * keys * module.heads * math.ceil((channels // module.heads + 1) / 8) * 8
        elif isinstance(module, torch.nn.Linear):
            macs += output.numel() * module.in_features
        else:
            macs += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear, MaskAttention)):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 1, 32, 32))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert f"MaskAttnUNet 2d: {parameters:,} parameters, widths 64-128-256-256, patch 32×32, batch size " in printed
    assert f"{macs / 1e9:.3g} GMAC per patch, attention included." in printed


def test_a_preprocessor_that_the_user_chose_stays(make_planner):
    plans = make_planner(MaskAttnUNetPlanner, **SMALL, preprocessor_name="Mine", plans_name="My").plan_experiment()
    assert plans["configurations"]["2d"]["preprocessor_name"] == "Mine"
    plans = make_planner(MaskAttnUNetPlanner, **SMALL, preprocessor_name="DefaultPreprocessor").plan_experiment()
    assert plans["configurations"]["2d"]["preprocessor_name"] == "MaskMedPreprocessor"


def test_images_that_allow_no_downsampling(make_planner):
    with pytest.raises(InputError, match="Dataset001_Made are too small for MaskAttnUNet: .* patch of 6×6,"):
        make_planner(MaskAttnUNetPlanner, shape=(1, 6, 6), spacing=(999.0, 1.0, 1.0)).plan_experiment()


# ------------------------------------------------------------------------------------------------------------ objects
@pytest.fixture
def make_plans(make_cell_planner, nnunet_env) -> Callable:
    """``make_plans(planner, shape=, **cells)``: plans of generated cells as they are written, and their statistics."""

    def make(planner: type, shape: tuple[int, int] = (96, 112), **cells: object) -> dict:
        plans = make_cell_planner(planner, shape=shape, cells=cells).plan_experiment()
        folder = nnunet_env.preprocessed / "Dataset011_Cells"
        written = json.loads((folder / f"{plans['plans_name']}.json").read_text())
        assert written == as_json(plans)
        return {
            **written,
            "statistics": json.loads((folder / "dataset_fingerprint.json").read_text())[FINGERPRINT_KEYS[2]],
        }

    return make


def test_plan_of_cells_with_nuclei_and_a_matrix(make_plans, capsys):
    plans = make_plans(MaskAttnUNetPlanner, classes=3, shape=(256, 256), count=60)
    plan, printed = plans["configurations"]["2d"], capsys.readouterr().out
    assert (plans["plans_name"], plans["experiment_planner_used"]) == ("MaskAttnUNetPlans", "MaskAttnUNetPlanner")
    assert (plans["label_manager"], plan["preprocessor_name"]) == ("InstanceLabelManager", "InstancePreprocessor")
    # objects are small beside the image, so that the patch is the published one
    assert plan["patch_size"] == [128, 128] and plan["maskattn_unet"] == {"learning_rate": 5e-4}
    assert plan["instances"]["thing_classes"] == [1, 2] and plan["instances"]["stuff_classes"] == [3]
    kwargs = plan["architecture"]["arch_kwargs"]
    assert kwargs["embedding_dim"] == 32 and kwargs["thing_channels"] == [1, 2] and kwargs["n_stages"] == 4
    assert kwargs["min_pixels"] == 2 * min(plan["instances"]["min_fragment"])
    assert kwargs["features_per_stage"] == [32, 64, 128, 128] and kwargs["placement"] == "decoder"
    things = [one for one in plans["statistics"]["classes"].values() if one["kind"] == "thing"]
    large = max(one["extent"]["longer"]["95"] for one in things)
    reach = max(8, math.ceil(0.7 * large / plan["spacing"][0]))
    assert plan["instance_loss"] == {"contrastive_weight": 0.5, "temperature": 0.1, "pixels": 1024, "reach": reach}
    assert f"within {reach} pixels" in printed and "MaskAttnUNet 2d: 1," in printed
    assert build(plans, classes=4).predicts_instances


def test_patches_show_two_large_objects(make_plans):
    cells = {"shape": (512, 512), "count": 8, "radius": (40.0, 50.0), "overlapping": True}
    plan = make_plans(MaskAttnUNetPlanner, **cells)["configurations"]["2d"]
    assert plan["spacing"] == [1.0, 1.0] and all(170 < edge < 230 for edge in plan["patch_size"])


def test_low_resolution_of_objects(make_plans):
    plans = make_plans(MaskAttnUNetPlannerLowRes)
    plan = plans["configurations"]["2d"]
    assert plans["plans_name"] == "MaskAttnUNetLowResPlans"
    assert plans["experiment_planner_used"] == "MaskAttnUNetPlannerLowRes"
    assert plan["spacing"] == pytest.approx([112 / 128] * 2) and plan["patch_size"] == [128, 128]
    assert plan["instances"]["scale"] == pytest.approx(128 / 112)
    assert plan["median_image_size_in_voxels"] == pytest.approx([96 * 128 / 112, 128])


def test_overlapping_objects_keep_their_layers_and_are_warned_of(make_plans, capsys):
    plan = make_plans(MaskAttnUNetPlanner, overlapping=True)["configurations"]["2d"]
    assert len(plan["instances"]["layer_classes"]) > 1 and plan["instances"]["overlap_layers"]
    assert "the network gives each pixel to one of them" in capsys.readouterr().out


def test_a_preprocessor_for_objects_that_the_user_chose_stays(make_cell_planner):
    planner = make_cell_planner(MaskAttnUNetPlanner, preprocessor_name="Mine")
    assert planner.plan_experiment()["configurations"]["2d"]["preprocessor_name"] == "Mine"
    for default in ({}, {"preprocessor_name": "DefaultPreprocessor"}):
        plan = MaskAttnUNetPlanner(11, **default).plan_experiment()["configurations"]["2d"]
        assert plan["preprocessor_name"] == "InstancePreprocessor"


def test_a_data_set_without_objects_is_refused_before_its_fingerprint(nnunet_env):
    write_cells(nnunet_env.raw, images=1, count=0)
    with pytest.raises(InputError, match="Dataset011_Cells has no objects"):
        MaskAttnUNetPlanner.check_data_set(11)


def test_labels_are_not_looked_at_for_objects(make_planner):
    make_planner(MaskAttnUNetPlanner)
    MaskAttnUNetPlanner.check_data_set(1)  # no refusal
    MaskAttnUNetPlanner.explain_failure(1)


def test_every_setting_of_the_network_stands_in_the_plans(make_plans):
    kwargs = make_plans(MaskAttnUNetPlanner)["configurations"]["2d"]["architecture"]["arch_kwargs"]
    settings = set(inspect.signature(MaskAttnUNet).parameters)
    assert set(kwargs) == settings - {"input_channels", "num_classes", "deep_supervision"}
