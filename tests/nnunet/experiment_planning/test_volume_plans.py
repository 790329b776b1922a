"""Plans of data sets of volumes: 2d as ever, and 3d_fullres."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.api.planning import _reasons
from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import IAUNetPlanner
from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlanner
from maskmed_nnu.nnunet.trial.step_process import _objects
from tests.instances.cells import CLASSES, write_cells

ISOTROPIC, THICK = (1.0, 1.0, 1.0), (5.0, 1.0, 1.0)


class SlicePlanner(IAUNetPlanner):
    planned_configurations: ClassVar = ("2d",)


@pytest.fixture
def plan(nnunet_env) -> Callable:
    """``plan(shape, spacing, **cells)`` makes plans of generated volumes; of their images the fingerprint knows the
    size."""

    def make(
        shape: tuple[int, ...] = (32, 48, 48),
        spacing: tuple[float, ...] = ISOTROPIC,
        *,
        shapes: list[tuple[int, ...]] | None = None,
        planner: type = IAUNetPlanner,
        arguments: dict | None = None,
        **cells: object,
    ) -> dict:
        folder = nnunet_env.raw / "Dataset011_Cells"
        if not folder.exists():
            write_cells(nnunet_env.raw, images=2, ending=".nii.gz", shape=shape, spacing=spacing, **cells)
        preprocessed = nnunet_env.preprocessed / folder.name
        preprocessed.mkdir(exist_ok=True)
        names = ("max", "mean", "median", "min", "std", "percentile_00_5", "percentile_99_5")
        fingerprint = {
            "spacings": [list(spacing)] * 3,
            "shapes_after_crop": [list(one) for one in shapes or [shape] * 3],
            "foreground_intensity_properties_per_channel": {"0": dict.fromkeys(names, 1.0)},
            "median_relative_size_after_cropping": 1.0,
        }
        file = preprocessed / "dataset_fingerprint.json"
        if not file.exists():
            file.write_text(json.dumps(fingerprint))
        return json.loads(json.dumps(planner(11, **(arguments or {})).plan_experiment()))

    return make


def test_nuclei_in_isotropic_volumes(plan, capsys):
    plans = plan()
    volumes = plans["configurations"]["3d_fullres"]
    kwargs = volumes["architecture"]["arch_kwargs"]
    assert list(plans["configurations"]) == ["2d", "3d_fullres"]
    assert volumes["data_identifier"] == "IAUNetPlans_3d_fullres" and volumes["batch_dice"] is False
    assert (volumes["patch_size"], volumes["spacing"], volumes["batch_size"]) == ([32, 48, 48], [1.0] * 3, 2)
    assert kwargs["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert kwargs["conv_op"].endswith("Conv3d") and kwargs["features_per_stage"] == [16, 32, 64, 128]
    assert len(kwargs["window"]) == 3 and all(18 < edge <= 24 for edge in kwargs["window"])  # radii of up to 9
    assert (kwargs["pyramid"], kwargs["levels"], kwargs["query_stride"]) == ([48, 32, 16], 1, 2)  # neighbours touch
    manager = PlansManager(plans).get_configuration("3d_fullres")
    network = get_network_from_plans(
        manager.network_arch_class_name,
        manager.network_arch_init_kwargs,
        manager.network_arch_init_kwargs_req_import,
        1,
        2,
        allow_init=False,
    )
    assert tuple(network.mask_stride) == (1, 1, 1)
    printed = capsys.readouterr().out
    assert "IAUNet 3d_fullres: patch 32×48×48, batch size 2, 4 scales" in printed
    assert (
        "take this one: the median object spans " in printed
        and "take 3d_fullres: this configuration predicts slice by slice" in printed
    )


def test_the_slices_of_volumes_are_planned_as_without_them(plan, nnunet_env):
    both = plan()
    file = nnunet_env.preprocessed / "Dataset011_Cells" / "dataset_fingerprint.json"
    assert set(json.loads(file.read_text())) >= {"objects", "objects_in_volumes"}
    file.unlink()
    (file.parent / "IAUNetPlans.json").unlink()
    alone = plan(planner=SlicePlanner)
    assert "objects_in_volumes" not in json.loads(file.read_text())
    assert alone["configurations"] == {"2d": both["configurations"]["2d"]}
    # the fingerprint of an older release is completed
    assert plan()["configurations"] == both["configurations"]


def test_another_spacing_may_turn_the_axes(plan, nnunet_env):
    """The objects are measured again where the axis across slices is another one."""
    turned = {"arguments": {"overwrite_target_spacing": [1.0, 1.0, 2.0]}}
    plan((16, 40, 48))
    later = plan(**turned)
    assert later["transpose_forward"] == [2, 0, 1]
    for file in (nnunet_env.preprocessed / "Dataset011_Cells").glob("*.json"):
        file.unlink()
    assert later == plan((16, 40, 48), **turned)


def test_thick_slices(plan, capsys):
    volumes = plan((10, 64, 64), THICK, count=20)["configurations"]["3d_fullres"]
    kwargs = volumes["architecture"]["arch_kwargs"]
    assert volumes["spacing"] == [5.0, 1.0, 1.0] and volumes["patch_size"] == [10, 64, 64]
    assert kwargs["strides"][:3] == [[1, 1, 1], [1, 2, 2], [1, 2, 2]] and kwargs["kernel_sizes"][0] == [1, 3, 3]
    # objects of up to 18 mm: 4 slices, with one more on each side for a guess of their centre
    assert kwargs["window"][0] == 6 and kwargs["window"][1] == kwargs["window"][2] >= 18
    assert re.search(r"seen in 1 to [34] slices", capsys.readouterr().out)


def test_small_objects_are_enlarged_in_the_plane_of_thick_slices(plan, capsys):
    volumes = plan((8, 48, 48), THICK, radius=(1.2, 1.9), count=40)["configurations"]["3d_fullres"]
    z, y, x = volumes["spacing"]
    assert z == 5.0 and y == x == 0.25 and volumes["instances"]["scale"] == 4
    assert volumes["median_image_size_in_voxels"] == pytest.approx([8, 48 / y, 48 / x])
    printed = capsys.readouterr().out
    assert "take this one: half of the objects or more are in a single slice" in printed
    assert "take 2d: half of the objects" in printed


def test_classes_that_a_mirror_confuses(plan, capsys, monkeypatch):
    monkeypatch.setitem(CLASSES, 2, {"left kidney": 1, "right kidney": 2})
    plan((8, 48, 48), THICK, classes=2, count=4)
    assert "left kidney and right kidney differ only in their side, but patches are mirrored" in capsys.readouterr().out


def test_large_objects_in_small_volumes(plan, capsys):
    volumes = plan((24, 40, 40), radius=(9.0, 11.0), count=3)["configurations"]["3d_fullres"]
    printed = capsys.readouterr().out
    assert "of the median volume along z: they fit into the patch" in printed
    window = volumes["architecture"]["arch_kwargs"]["window"]
    assert all(edge <= limit for edge, limit in zip(window, volumes["patch_size"], strict=True))


def test_an_object_larger_than_any_patch_is_joined_from_tiles(plan, capsys):
    volumes = plan(
        (40, 72, 72),
        radius=(30.0, 34.0),
        count=1,
        arguments={"gpu_memory_target_in_gb": 0.1, "overwrite_target_spacing": [1.0, 1.0, 1.0]},
    )["configurations"]["3d_fullres"]
    assert volumes["spacing"] == [1.0, 1.0, 1.0] and max(volumes["patch_size"]) < 60
    assert "those larger than the patch are merged from the parts in several tiles" in capsys.readouterr().out


@pytest.mark.parametrize("shapes", [[(1, 48, 48)] * 3, [(32, 48, 48), (1, 48, 48), (32, 48, 48)]])
def test_images_of_one_slice_leave_2d_only(plan, capsys, shapes):
    assert list(plan(shapes=shapes)["configurations"]) == ["2d"]
    printed = capsys.readouterr().out
    mixed = (
        "only 2d is planned: 1 of the 3 images of Dataset011_Cells has one slice, which 3d_fullres cannot be trained on"
    )
    assert (mixed in printed) == (len(set(shapes)) > 1) and "take this one" not in printed


def test_less_memory_gives_a_smaller_patch(plan):
    sizes = [
        math.prod(plan((64, 96, 96), count=30, arguments=arguments)["configurations"]["3d_fullres"]["patch_size"])
        for arguments in ({}, {"gpu_memory_target_in_gb": 0.5})
    ]
    assert sizes[1] < 0.9 * sizes[0]


def test_volumes_larger_than_their_objects_ask_for(plan, capsys):
    volumes = plan((96, 128, 128), count=40, radius=(3.0, 4.0))["configurations"]["3d_fullres"]
    assert volumes["patch_size"] == [64, 64, 64]
    assert "as large as its objects need" in capsys.readouterr().out


def test_the_spacing_that_the_user_chose_stays(plan):
    arguments = {"overwrite_target_spacing": [2.0, 0.5, 0.5]}
    volumes = plan(radius=(1.2, 1.9), arguments=arguments)["configurations"]["3d_fullres"]
    assert volumes["spacing"] == [2.0, 0.5, 0.5]


def test_maskattn_unet_sees_slices_only(plan):
    plans = plan(planner=MaskAttnUNetPlanner)
    assert list(plans["configurations"]) == ["2d"]


def test_two_classes_with_overlaps(plan):
    volumes = plan((16, 40, 48), overlapping=True, classes=2, count=10)["configurations"]["3d_fullres"]
    layers = volumes["instances"]["layer_classes"]
    assert layers.count(1) >= 2 and 2 in layers and volumes["architecture"]["arch_kwargs"]["blocks_per_level"] == 3
    assert np.all(np.array(volumes["instances"]["min_fragment"]) >= 4)


def test_each_configuration_is_told_with_its_reasons(plan, capsys):
    """As `maskmed plan` tells them."""
    plan()
    reasons = _reasons(capsys.readouterr().out)
    assert reasons["2d"].startswith("patch 64×64") and reasons["3d_fullres"].startswith("patch 32×48×48")
    assert reasons["2d"].endswith("does not link the ids") and "take this one" in reasons["3d_fullres"]


@pytest.mark.parametrize("patch", [[64, 80], [16, 64, 80], [4, 64, 64]])
def test_steps_are_measured_on_a_grid_of_objects(patch):
    configuration = {"instances": {"layer_classes": [2, 1]}}
    trainer = SimpleNamespace(batch_size=3, configuration_manager=SimpleNamespace(configuration=configuration))
    target = _objects(trainer, patch)
    assert target.shape == (3, 3, *patch) and target[:, 2].max() == 0 and set(target[:, 0].unique().tolist()) == {0, 2}
    ids = target[0, 1].unique().tolist()
    assert ids == list(range(len(ids))) and len(ids) > 9
