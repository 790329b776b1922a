"""Plans that do not fit get one clear sentence, before anything heavy."""

from __future__ import annotations

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
    with pytest.raises(InputError, match=f"dataset.json declares {kind}, which objects do not have"):
        check_instance_labels(plans, plans["configurations"]["2d"], labels=labels, planner="IAUNetPlanner")


def test_no_plans_at_all():
    with pytest.raises(InputError, match="no plans file of nnU-Net v2"):
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
    with pytest.raises(InputError, match="divide axis 1 by 8, and 50 is no multiple of that.*48 or 56"):
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
