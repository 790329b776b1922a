"""Plans that do not fit get one clear sentence, before anything heavy."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.plans_handling.checks import (
    check_iaunet_plans,
    check_instance_labels,
    check_maskmed_plans,
    check_regions,
)
from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
from tests.nnunet.plans_0_1 import plans_of_version_0_1


@pytest.fixture
def plans() -> dict:
    plans = plans_of_version_0_1("maskmed")
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return plans


def check(plans: dict, *, num_heads: int = 3, name: str = "3d_fullres") -> None:
    check_maskmed_plans(plans, resolve_configuration(plans, name), num_heads=num_heads)


def test_good_plans_pass(plans):
    check(plans)
    check(plans, num_heads=2)
    check(plans, name="3d_cascade_fullres")
    check_regions(plans, resolve_configuration(plans, "3d_fullres"), has_regions=False)


def test_inheritance(plans):
    resolved = resolve_configuration(plans, "3d_cascade_fullres")
    assert resolved["previous_stage"] == "3d_lowres" and resolved["patch_size"] == [40, 56, 40]


def test_unknown_configuration(plans):
    with pytest.raises(InputError, match="no configuration '3d_lowres'. They have: 2d, 3d_fullres, 3d_cascade_fullres"):
        resolve_configuration(plans, "3d_lowres")


@pytest.mark.parametrize(("has_regions", "kind"), [(True, "regions"), (False, "an ignore label")])
def test_objects_have_neither_regions_nor_an_ignore_label(has_regions, kind):
    plans = plans_of_version_0_1("iaunet")
    labels = SimpleNamespace(has_regions=has_regions, has_ignore_label=not has_regions, foreground_labels=[1])
    with pytest.raises(InputError, match=f"dataset.json declares {kind}, which data sets of objects cannot have"):
        check_instance_labels(plans, plans["configurations"]["2d"], labels=labels, planner="IAUNetPlanner")


def test_no_plans_at_all():
    with pytest.raises(InputError, match="not a plans file of nnU-Net v2"):
        resolve_configuration({"conv_per_stage": 2}, "2d")


def test_plans_of_an_old_nnunet(plans):
    configuration = plans["configurations"]["3d_fullres"]
    del configuration["architecture"]
    configuration["UNet_class_name"] = "PlainConvUNet"
    with pytest.raises(InputError, match="nnU-Net before 2.4.*-d Dataset201_Hip -pl MaskMedPlanner"):
        check(plans)


def test_plans_of_another_planner(plans):
    plans.update(plans_name="nnUNetPlans", experiment_planner_used="ExperimentPlanner")
    plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "x.PlainConvUNet"
    with pytest.raises(InputError, match="nnUNetPlans were made by ExperimentPlanner for the network x.PlainConvUNet"):
        check(plans)


@pytest.mark.parametrize("missing", ["maskmed_nnu", "set_loss"])
def test_plans_of_another_version_of_ours(plans, missing):
    plans.pop(missing, None)
    plans["configurations"]["3d_fullres"].pop(missing, None)
    with pytest.raises(InputError, match="another version of maskmed_nnu"):
        check(plans)


def test_more_classes_than_planned(plans):
    with pytest.raises(InputError, match="has 4 classes.*more than the 3 that the plans MaskMedPlans"):
        check(plans, num_heads=4)


def test_a_patch_that_a_level_cannot_divide(plans):
    plans["configurations"]["3d_fullres"]["patch_size"] = [40, 50, 40]
    with pytest.raises(InputError, match="divide axis 1 by 8, and 50 is not a multiple of that.*48 or 56"):
        check(plans)


def test_regions_for_labels(plans):
    with pytest.raises(InputError, match="made for plain labels, but dataset.json declares regions"):
        check_regions(plans, resolve_configuration(plans, "3d_fullres"), has_regions=True)


def test_other_numbers_of_things():
    plans = plans_of_version_0_1("iaunet")
    configuration = resolve_configuration(plans, "2d")
    configuration["architecture"]["arch_kwargs"]["num_things"] = 2
    with pytest.raises(
        InputError, match=r"arch_kwargs.num_things to 2; legal is the number of .* \[1\], 1. Plan again"
    ):
        check_iaunet_plans(plans, configuration)


def volume_plans() -> tuple[dict, dict]:
    """Plans of objects in volumes with thick slices, and their 3d_fullres."""
    plans = plans_of_version_0_1("iaunet")
    configuration = copy.deepcopy(plans["configurations"]["2d"])
    kwargs = configuration["architecture"]["arch_kwargs"]
    stages = kwargs["n_stages"]
    kwargs |= {
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * (stages - 1)],
        "strides": [[1, 1, 1], [1, 2, 2], *[[2, 2, 2]] * (stages - 2)],
        "window": [8, 32, 32],
    }
    configuration |= {"patch_size": [2 * 2 ** (stages - 2), *[2**stages] * 2], "batch_dice": False}
    plans["configurations"]["3d_fullres"] = configuration
    return plans, configuration


def test_plans_of_objects_in_volumes_pass():
    check_iaunet_plans(*volume_plans())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"patch_size": [9, 64, 64]}, r"patch size \[9, 64, 64\] .* axis 0 by 16, and 9 is not a multiple .* 16 or 16"),
        ({"window": [8, 32]}, r"arch_kwargs.window to \[8, 32\]; legal is one edge, or 3 edges, one for each axis"),
        (
            {"window": [8, 32, 0]},
            "window to .* legal is an integer of 1 or more or a list of one or more integers of 1 or",
        ),
        ({"query_stride": 3}, r"query_stride 3; legal are the strides of the pyramid, \[4, 2, 1\]"),
        (
            {"backbone": "resnet18"},
            r"arch_kwargs.backbone to \"resnet18\"; legal is null in a configuration of volumes, because timm",
        ),
    ],
)
def test_plans_of_objects_in_volumes_that_do_not_fit(settings, sentence):
    plans, configuration = volume_plans()
    for key, value in settings.items():
        place = configuration if key == "patch_size" else configuration["architecture"]["arch_kwargs"]
        place[key] = value
    with pytest.raises(InputError, match=sentence):
        check_iaunet_plans(plans, configuration)
