"""With many classes the planners name nnU-Net's resampling by torch."""

from __future__ import annotations

import pytest
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet, resample_torch_simple
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.nnunet.discovery.class_search import find
from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner
from maskmed_nnu.nnunet.plans_handling.label_export import DEFAULT, MANY_CLASSES, labels_by_plane

PLANNERS = ("MaskMedPlanner", "SimpleUNetPlanner", "MaskAttnUNetPlanner")
SHAPE = {"shape": (20, 28, 28)}


def labels(heads: int) -> dict[str, int]:
    return {"background": 0, **{f"class {number}": number for number in range(1, heads)}}


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("many", [True, False])
def test_from_ten_classes_on(make_planner, capsys, planner, many):
    heads = MANY_CLASSES - (not many)
    plans = make_planner(find("planner", planner), labels=labels(heads), **SHAPE).plan_experiment()
    assert f"With {heads} classes or regions, predictions are resampled by" not in capsys.readouterr().out or many
    for name, configuration in plans["configurations"].items():
        function = PlansManager(plans).get_configuration(name).resampling_fn_probabilities.func
        assert (function is resample_torch_fornnunet) == many
        assert labels_by_plane(plans, configuration) == many
        assert configuration["resampling_fn_data"] == configuration["resampling_fn_seg"] == DEFAULT


def test_regions_count_and_it_is_said_once(make_planner, capsys):
    numbers = [[number, number + 1] for number in range(1, 2 * MANY_CLASSES, 2)]
    regions = {"background": 0, **{f"region {index}": both for index, both in enumerate(numbers)}}
    order = [both[0] for both in numbers]
    planner = make_planner(find("planner", "MaskMedPlanner"), labels=regions, regions_class_order=order, **SHAPE)
    plans = planner.plan_experiment()
    assert labels_by_plane(plans, plans["configurations"]["3d_fullres"])
    assert capsys.readouterr().out.count(f"With {MANY_CLASSES} classes or regions, predictions are resampled by") == 1


class OwnExport(SimpleUNetPlanner):
    def determine_segmentation_softmax_export_fn(self, *args, **kwargs):
        return resample_torch_simple, {"is_seg": False}


def test_a_planner_that_chooses_a_function_of_its_own(make_planner):
    plans = make_planner(OwnExport, labels=labels(MANY_CLASSES), **SHAPE).plan_experiment()
    assert plans["configurations"]["2d"]["resampling_fn_probabilities"] == "resample_torch_simple"
    assert not labels_by_plane(plans, plans["configurations"]["2d"])
