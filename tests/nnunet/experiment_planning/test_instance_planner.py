"""The instance planner's rules, and the plans that come out of them."""

from __future__ import annotations

import doctest
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import LabelFormat
from maskmed_nnu.instances.statistics import describe
from maskmed_nnu.losses.location_criterion import LocationCriterion
from maskmed_nnu.nnunet.experiment_planning import instance_fingerprint, instance_rules
from maskmed_nnu.nnunet.experiment_planning.instance_fingerprint import (
    FINGERPRINT_KEYS,
    add_to_fingerprint,
    instance_statistics,
)
from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import IAUNetPlanner
from maskmed_nnu.nnunet.plans_handling.label_manager import InstanceLabelManager
from maskmed_nnu.nnunet.preprocessing.instance_preprocessor import InstancePreprocessor
from tests.instances.cells import write_cells


def statistics_of(
    *,
    extents: tuple[float, float] = (10, 60),
    per_image: int = 40,
    image: tuple[int, int] = (256, 256),
    depth: int = 1,
    spacing: float = 20.0,
    kind: str = "thing",
    images: int = 100,
) -> dict:
    """Of square objects whose edges are spread evenly, in images of one size."""
    edges = describe(np.linspace(*extents, 1001))
    common = {
        "objects": per_image * images,
        "slices_without": 0,
        "objects_per_slice": describe(np.array([per_image])),
        "density": describe(np.array([per_image / math.prod(image)])),
        "area": describe(np.linspace(*extents, 1001) ** 2),
        "extent": dict.fromkeys(("y", "x", "shorter", "longer"), edges),
        "spacing": describe(np.array([spacing])),
    }
    cell = {"number": 1, "kind": kind, "unindexed_pixels": 0, "overlap_depth": depth, "layers": depth, **common}
    return {
        "slices": images,
        "size": {axis: describe(np.array([edge])) for axis, edge in zip("yx", image, strict=True)},
        "all": common,
        "classes": {"cell": cell},
    }


@pytest.fixture
def make_plans(nnunet_env) -> Callable:
    """``make_plans(statistics, **planner arguments)`` plans a data set with such objects, without images of them."""
    folder = write_cells(nnunet_env.raw, images=1)
    preprocessed = nnunet_env.preprocessed / folder.name
    preprocessed.mkdir()
    intensities = dict.fromkeys(("max", "mean", "median", "min", "std", "percentile_00_5", "percentile_99_5"), 1.0)

    def make(statistics: dict, *, pixel: tuple[float, float, float] = (999.0, 1.0, 1.0), **kwargs: object) -> dict:
        fingerprint = {
            "spacings": [pixel] * 9,
            "shapes_after_crop": [[1, statistics["size"]["y"]["50"], statistics["size"]["x"]["50"]]] * 9,
            "foreground_intensity_properties_per_channel": {"0": intensities},
            "median_relative_size_after_cropping": 0.5,
            FINGERPRINT_KEYS[2]: statistics,
        }
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        plans = IAUNetPlanner(11, **kwargs).plan_experiment()
        assert json.loads((preprocessed / "IAUNetPlans.json").read_text()) == json.loads(json.dumps(plans))
        return plans

    return make


def test_examples():
    assert doctest.testmod(instance_rules).failed == 0


def test_plan_of_nuclei(make_plans, capsys):
    plans = make_plans(statistics_of())
    plan = plans["configurations"]["2d"]
    kwargs = plan["architecture"]["arch_kwargs"]
    assert list(plans["configurations"]) == ["2d"] and plans["plans_name"] == "IAUNetPlans"
    assert (plan["patch_size"], plan["spacing"], plan["batch_size"]) == ([256, 256], [1.0, 1.0], 5)
    assert kwargs["n_stages"] == 6 and kwargs["features_per_stage"] == [16, 32, 64, 128, 128, 128]
    assert kwargs["window"] == 80  # 59.5 × 1.25 = 74.4
    assert kwargs["num_queries"] == 100  # 40 × 1.5 = 60
    assert (kwargs["levels"], kwargs["pyramid"], kwargs["query_stride"]) == (3, [48, 32, 16], 4)
    assert (kwargs["num_things"], kwargs["blocks_per_level"]) == (1, 0)
    assert plan["instances"] == {
        "thing_classes": [1],
        "stuff_classes": [],
        "layer_classes": [1],
        "min_fragment": [39],  # 12.5² / 4
        "score_threshold": 0.25,
        "label_divisor": None,
        "overlap_layers": False,
        "scale": 1.0,
    }
    assert plan["use_mask_for_norm"] == [False]  # a dark background is background
    printed = capsys.readouterr().out
    assert "IAUNet 2d: patch 256×256, batch size 5, 6 scales" in printed
    assert "images keep their scale: small objects (10th percentile) cover 15 cells" in printed
    assert "100 queries: a patch of a dense image shows 40 objects, times 1.5" in printed


def test_what_nnunet_finds_by_the_names_in_the_plans(make_plans):
    plans = PlansManager(make_plans(statistics_of()))
    assert type(plans.get_label_manager({"labels": {"background": 0, "cell": 1}})) is InstanceLabelManager
    assert plans.get_configuration("2d").preprocessor_class is InstancePreprocessor
    assert plans.image_reader_writer_class.__name__ == "InstanceIO"


def test_the_planned_network_and_loss_are_built(make_plans):
    plan = PlansManager(make_plans(statistics_of())).get_configuration("2d")
    network = get_network_from_plans(
        plan.network_arch_class_name,
        plan.network_arch_init_kwargs,
        plan.network_arch_init_kwargs_req_import,
        1,
        2,
        allow_init=False,
    )
    assert network.num_queries == 100
    weights = {name: weight for name, weight in plan.configuration["instance_loss"].items() if name != "dense_weight"}
    LocationCriterion(num_classes=1, mask_head=network.mask_head, window=network.window, **weights)


def test_tiny_objects_enlarge_the_images(make_plans, capsys):
    plan = make_plans(statistics_of(extents=(1, 6), spacing=3))["configurations"]["2d"]
    assert plan["spacing"] == [pytest.approx(0.3)] * 2 and plan["instances"]["scale"] == pytest.approx(5 / 1.5)
    assert plan["median_image_size_in_voxels"] == [pytest.approx(256 / 0.3)] * 2
    assert "images are enlarged 3.33 times" in capsys.readouterr().out
    plan = make_plans(statistics_of(extents=(0.5, 1)))["configurations"]["2d"]
    assert plan["instances"]["scale"] == 4


def test_huge_objects_shrink_the_images(make_plans, capsys):
    huge = statistics_of(extents=(300, 1500), image=(6000, 6000), per_image=5)
    plan = make_plans(huge)["configurations"]["2d"]
    assert plan["spacing"][0] > 1
    assert min(plan["patch_size"]) >= 2 * 1440 / plan["spacing"][0] - 32
    assert plan["architecture"]["arch_kwargs"]["pyramid"] == [48]  # masks on a coarser grid
    assert "images are shrunk to" in capsys.readouterr().out
    # images that are no larger than their objects need not shrink
    close_up = statistics_of(extents=(300, 500), image=(512, 512), per_image=2)
    assert make_plans(close_up)["configurations"]["2d"]["instances"]["scale"] == 1


def test_the_scale_on_record_is_that_of_the_spacing(make_plans, monkeypatch):
    monkeypatch.setattr(instance_rules, "downsampling", lambda *_: 1.5)  # the patch may get smaller with the images
    configuration = make_plans(statistics_of())["configurations"]["2d"]
    assert configuration["instances"]["scale"] == pytest.approx(1 / 1.5)
    assert configuration["spacing"] == pytest.approx([1.5, 1.5])


def test_the_spacing_that_the_user_chose_stays(make_plans):
    plan = make_plans(statistics_of(extents=(1, 6)), overwrite_target_spacing=[999.0, 0.5, 0.5])
    assert plan["configurations"]["2d"]["spacing"] == [0.5, 0.5]


def test_pixels_that_are_no_squares(make_plans):
    plan = make_plans(statistics_of(), pixel=(999.0, 1.0, 3.0))["configurations"]["2d"]
    assert plan["spacing"] == [1.0, 1.0]
    plan = make_plans(statistics_of(extents=(20, 90)), pixel=(999.0, 1.0, 1.5))["configurations"]["2d"]
    assert plan["spacing"] == [1.0, 1.5]


def test_dense_overlapping_and_close_objects(make_plans, capsys):
    plan = make_plans(statistics_of(per_image=900, depth=3, spacing=5))["configurations"]["2d"]
    kwargs = plan["architecture"]["arch_kwargs"]
    assert kwargs["num_queries"] == 1350 and kwargs["blocks_per_level"] == 3 and kwargs["query_stride"] == 2
    assert plan["instances"]["layer_classes"] == [1, 1, 1]
    assert "3 layers of ids (cell, cell, cell)" in capsys.readouterr().out


def test_a_smaller_memory_target_gives_a_smaller_patch(make_plans):
    large = statistics_of(image=(1500, 1500))
    patches = [
        math.prod(make_plans(large, gpu_memory_target_in_gb=memory)["configurations"]["2d"]["patch_size"])
        for memory in (8, 2)
    ]
    assert patches[1] < patches[0] / 2


def test_a_preprocessor_that_the_user_chose_stays(make_plans):
    plan = make_plans(statistics_of(), preprocessor_name="Mine")["configurations"]["2d"]
    assert plan["preprocessor_name"] == "Mine"
    plan = make_plans(statistics_of(), preprocessor_name="DefaultPreprocessor")["configurations"]["2d"]
    assert plan["preprocessor_name"] == "InstancePreprocessor"


def test_a_semantic_data_set_is_refused(make_plans, nnunet_env):
    make_plans(statistics_of())
    file = nnunet_env.raw / "Dataset011_Cells" / "dataset.json"
    dataset = json.loads(file.read_text())
    del dataset["overwrite_image_reader_writer"]
    file.write_text(json.dumps(dataset))
    with pytest.raises(InputError, match="Dataset011_Cells is a semantic data set.*maskmed convert"):
        make_plans(statistics_of())


def test_label_files_that_predictions_could_not_be_written_as_are_refused(nnunet_env):
    folder = write_cells(nnunet_env.raw, images=1)
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"file_ending": ".bmp"}))
    with pytest.raises(
        InputError, match=r"Dataset011_Cells has the file_ending '.bmp', but objects are written as .png"
    ):
        IAUNetPlanner.check_data_set(11)


def test_a_data_set_without_objects_is_refused(make_plans):
    for kind in ("stuff", "absent"):
        with pytest.raises(InputError, match="no objects: all 2 label files lack an id of cell"):
            make_plans(statistics_of(kind=kind))


def test_statistics_are_measured_once_and_kept(nnunet_env, monkeypatch):
    folder = write_cells(nnunet_env.raw, overlapping=True, classes=3, images=3)
    calls = []

    def counted(*arguments, **keywords):
        calls.append(arguments)
        return instance_statistics(*arguments, **keywords)

    monkeypatch.setattr("maskmed_nnu.nnunet.experiment_planning.planners.instance.instance_statistics", counted)
    file = nnunet_env.preprocessed / folder.name / "dataset_fingerprint.json"
    file.parent.mkdir()
    intensities = dict.fromkeys(("max", "mean", "median", "min", "std", "percentile_00_5", "percentile_99_5"), 1.0)
    stock = {
        "spacings": [[999, 1, 1]] * 4,
        "shapes_after_crop": [[1, 96, 112]] * 4,
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "median_relative_size_after_cropping": 1.0,
    }
    file.write_text(json.dumps(stock))
    first = IAUNetPlanner(11).plan_experiment()
    kept = json.loads(file.read_text())
    assert {key: kept[key] for key in stock} == stock and kept[FINGERPRINT_KEYS[2]]["slices"] == 4
    assert [other.name for other in file.parent.glob("*.tmp")] == []
    again = IAUNetPlanner(11).plan_experiment()
    assert len(calls) == 1 and json.dumps(again) == json.dumps(first)
    instances = first["configurations"]["2d"]["instances"]
    assert instances["thing_classes"] == [1, 2] and instances["stuff_classes"] == [3]
    assert instances["layer_classes"].count(1) >= 2 and instances["layer_classes"] == sorted(instances["layer_classes"])


def test_processes_measure_the_same_and_tell_a_broken_file(nnunet_env, monkeypatch):
    folder = write_cells(nnunet_env.raw, images=2)
    files = sorted((folder / "labelsTr").iterdir())
    alone = instance_statistics(files, {"cell": 1})
    monkeypatch.setattr(instance_fingerprint, "SECONDS_BEFORE_POOL", 0.0)
    assert instance_statistics(files, {"cell": 1}) == alone
    files[0].write_bytes(files[0].read_bytes()[:150])
    for patience in (0.0, 60.0):
        monkeypatch.setattr(instance_fingerprint, "SECONDS_BEFORE_POOL", patience)
        with pytest.raises(InputError, match=files[0].name):
            instance_statistics(files, {"cell": 1})


def test_a_fingerprint_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "dataset_fingerprint.json"
    file.write_text('{"spacings": []}')
    with pytest.raises(TypeError):
        add_to_fingerprint(file, {"bad": object()})
    assert file.read_text() == '{"spacings": []}' and list(tmp_path.iterdir()) == [file]


def test_formats_of_the_shared_generator(tmp_path):
    """The planner's tests rest on it."""
    for classes in (1, 2, 3):
        folder = write_cells(tmp_path / str(classes), classes=classes, images=1, overlapping=classes == 2)
        label_format = LabelFormat.from_dataset_json(json.loads((folder / "dataset.json").read_text()))
        assert len(label_format.classes) == classes and label_format.overlap_layers == (classes == 2)
