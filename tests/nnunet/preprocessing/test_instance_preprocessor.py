"""Preprocessed images and label stacks of generated cells."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import numpy as np
import pytest
import tifffile
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.instances.statistics import measure
from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import IAUNetPlanner
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO
from maskmed_nnu.nnunet.preprocessing import instance_preprocessor as module
from maskmed_nnu.nnunet.preprocessing.case_checks import check_files
from maskmed_nnu.nnunet.preprocessing.instance_preprocessor import (
    InstancePreprocessor,
    keep_a_voxel,
    label_stack,
    nearest,
    object_locations,
)
from tests.instances.cells import write_cells
from tests.nnunet.oracle import dataset, plans


class Case:
    """The first image of a generated data set, and the plans for it."""

    def __init__(self, env, *, shape=(1, 96, 112), spacing=(999, 1, 1), name="2d", **settings: object) -> None:
        if shape[0] > 1:
            settings |= {"shape": shape, "spacing": spacing, "ending": ".nii.gz"}
        folder, ending = write_cells(env.raw, images=2, **settings), settings.get("ending", ".tif")
        self.dataset, self.name = json.loads((folder / "dataset.json").read_text()), name
        self.images = [str(folder / "imagesTr" / f"cells_000_0000{ending}")]
        self.seg = str(folder / "labelsTr" / f"cells_000{ending}")
        self.objects = InstanceIO().read_instances(self.seg)[0]
        intensities = dict.fromkeys(("max", "mean", "median", "min", "std", "percentile_00_5", "percentile_99_5"), 1.0)
        fingerprint = {
            "spacings": [spacing] * 3,
            "shapes_after_crop": [shape] * 3,
            "foreground_intensity_properties_per_channel": {"0": intensities},
            "median_relative_size_after_cropping": 1.0,
        }
        preprocessed = env.preprocessed / folder.name
        preprocessed.mkdir()
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        self.plans = PlansManager(json.loads(json.dumps(IAUNetPlanner(11).plan_experiment())))

    def configuration(self, **changes: object) -> ConfigurationManager:
        return ConfigurationManager({**self.plans.plans["configurations"][self.name], **changes})

    def run(self, *, seg: bool = True, kind: type = InstancePreprocessor, **changes: object) -> tuple:
        preprocessor = pickle.loads(pickle.dumps(kind(verbose=False)))
        seg_file = self.seg if seg else None
        return preprocessor.run_case(self.images, seg_file, self.plans, self.configuration(**changes), self.dataset)


@pytest.fixture
def case(nnunet_env) -> Case:
    return Case(nnunet_env, overlapping=True, classes=3)


def test_layers_of_ids_under_a_semantic_map(case):
    data, seg, _ = case.run(spacing=[1.0, 1.0])
    layer_classes = case.configuration().configuration["instances"]["layer_classes"]
    assert seg.dtype == np.int16 and seg.shape == (1 + len(layer_classes), 1, 96, 112)
    assert data.shape == (1, 1, 96, 112)
    np.testing.assert_array_equal(seg[0], case.objects.semantic())
    found = 0
    for number, kind in enumerate(case.objects.classes, start=1):
        (layer,) = np.flatnonzero((seg[1:] == number).any((1, 2, 3)))
        assert layer_classes[layer] == kind
        np.testing.assert_array_equal(seg[1 + layer] == number, (case.objects.ids == number).any(0))
        found += 1
    assert found == len(np.unique(seg[1:])) - 1 > 10


@pytest.fixture
def volume(nnunet_env) -> Case:
    return Case(nnunet_env, shape=(9, 48, 56), spacing=(4.0, 1.0, 1.0), name="3d_fullres", overlapping=True, classes=2)


def test_a_volume_has_one_row_per_object(volume):
    data, seg, properties = volume.run(spacing=[4.0, 1.0, 1.0])
    layers = volume.configuration().configuration["instances"]["layer_classes"]
    assert data.shape == (1, 9, 48, 56) and seg.shape == (1 + len(layers), 9, 48, 56) and seg.dtype == np.int16
    np.testing.assert_array_equal(seg[0], volume.objects.semantic())
    rows = properties["class_locations"]
    assert sum(map(len, rows.values())) == len(volume.objects.classes) > 10
    for kind, found in rows.items():
        assert found.dtype == np.int32 and set(volume.objects.classes[found[:, 0] - 1]) == {kind}
        for number, *box in found.tolist():
            places = np.argwhere((seg[1:] == number).any(0))
            assert box == [*places.min(0), *(places.max(0) + 1)]
    slices = volume.configuration(spacing=[1.0, 1.0])  # the same code, for slices
    by_slice = InstancePreprocessor(verbose=False).run_case(
        volume.images, volume.seg, volume.plans, slices, volume.dataset
    )[2]["class_locations"]
    assert sum(map(len, by_slice.values())) > 2 * len(volume.objects.classes) and by_slice[1].shape[1] == 6


@pytest.mark.parametrize("spacing", [[2.0, 1.0, 1.0], [4.0, 1.5, 1.5], [4.0, 0.7, 0.7]])
def test_volumes_are_resampled_along_all_axes(volume, spacing):
    data, seg, _ = volume.run(spacing=spacing)
    shape = tuple(round(edge * a / b) for edge, a, b in zip((9, 48, 56), (4, 1, 1), spacing, strict=True))
    assert data.shape[1:] == seg.shape[1:] == shape
    stock = volume.run(spacing=spacing, kind=DefaultPreprocessor)[0]
    np.testing.assert_array_equal(data, stock)
    before, after = np.bincount(volume.objects.ids.ravel()), np.bincount(seg[1:].ravel())
    large = np.flatnonzero(before > 100)[1:]
    factor = np.prod([4, 1, 1]) / np.prod(spacing)
    np.testing.assert_allclose(after[large], before[large] * factor, rtol=0.3)


def test_an_object_finer_than_the_grid_keeps_a_voxel(volume):
    """Nearest neighbours would leave some out."""
    _, seg, properties = volume.run(spacing=[12.0, 4.0, 4.0])
    assert set(np.unique(seg[1:])) == set(range(len(volume.objects.classes) + 1))
    assert sum(map(len, properties["class_locations"].values())) == len(volume.objects.classes)
    original = np.zeros((2, 12, 9, 9), np.int16)
    original[1, 5, 4, 4:6] = 7
    labels = np.zeros((2, 4, 3, 3), np.int16)
    keep_a_voxel(labels, original, [3])
    assert labels[1, 1, 1, 1] == 7 and labels[0, 1, 1, 1] == 3 and np.count_nonzero(labels) == 2


def test_a_single_slice_is_no_volume(volume):
    properties = {"spacing": [999, 1, 1], "sitk_stuff": {}}
    with pytest.raises(InputError, match="has one slice, but 3d_fullres finds objects in volumes. Take a model of"):
        InstancePreprocessor(verbose=False).run_case_npy(
            np.zeros((1, 1, 48, 56)), None, properties, volume.plans, volume.configuration(), volume.dataset
        )


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((0.004, 0.001, 0.001), "9 × 48 × 56 pixels of the size 0.004 × 0.001 × 0.001, which become 0 × 0 × 0 of the"),
        ((4000, 1000, 1000), "9 × 48 × 56 pixels of the size 4000 × 1000 × 1000, which become 9000 × 48000 × 56000"),
    ],
)
def test_a_spacing_in_another_unit(volume, spacing, message):
    """Nothing would be left of the image, or it would need terabytes."""
    with pytest.raises(InputError, match=f"{message}.*Check its spacing, which may be in another unit"):
        InstancePreprocessor(verbose=False).run_case_npy(
            np.zeros((1, 9, 48, 56)),
            None,
            {"spacing": spacing, "sitk_stuff": {}},
            volume.plans,
            volume.configuration(spacing=[4.0, 1.0, 1.0]),
            volume.dataset,
        )


def test_images_are_those_of_nnunet(case):
    """Where nothing is cropped, nnU-Net's own preprocessor gives the same image."""
    for spacing in ([1.0, 1.0], [0.7, 0.7], [1.5, 1.0]):
        ours, stock = case.run(spacing=spacing), case.run(spacing=spacing, kind=DefaultPreprocessor)
        np.testing.assert_array_equal(ours[0], stock[0])
        assert ours[1].shape[1:] == stock[1].shape[1:]
        for key in ("shape_before_cropping", "bbox_used_for_cropping", "shape_after_cropping_and_before_resampling"):
            assert np.array_equal(ours[2][key], stock[2][key]), key


@pytest.mark.parametrize("spacing", [0.5, 0.8, 1.7])
def test_resampling_keeps_ids_and_areas(case, spacing):
    _, seg, _ = case.run(spacing=[spacing, spacing])
    before, after = np.bincount(case.objects.ids.ravel()), np.bincount(seg[1:].ravel(), minlength=1)
    assert set(np.flatnonzero(after)) <= set(np.flatnonzero(before))
    large = np.flatnonzero(before > 60)[1:]
    np.testing.assert_allclose(after[large] * spacing**2, before[large], rtol=0.3)
    assert set(np.unique(seg[0])) == {0, 1, 2, 3}


def test_a_dark_background_is_background(case):
    """nnU-Net would crop the zeros around the cells, or mark them as no part of the image."""
    picture = tifffile.imread(case.images[0])
    picture[:20] = 0
    tifffile.imwrite(case.images[0], picture)
    data, seg, properties = case.run(spacing=[1.0, 1.0])
    assert data.shape == (1, 1, 96, 112) and seg.min() == 0
    assert properties["bbox_used_for_cropping"] == [[0, 1], [0, 96], [0, 112]]
    assert case.run(spacing=[1.0, 1.0], kind=DefaultPreprocessor)[0].shape == (1, 1, 76, 112)


def test_prediction_needs_no_labels(case):
    data, seg, properties = case.run(seg=False)
    np.testing.assert_array_equal(data, case.run()[0])
    assert seg.shape == (1, *data.shape[1:]) and not seg.any() and "class_locations" not in properties


def test_locations_are_the_boxes_of_every_object(case):
    _, seg, properties = case.run(spacing=[1.0, 1.0])
    rows = properties["class_locations"]
    assert set(rows) == {1, 2} and all(found.dtype == np.int32 for found in rows.values())
    for kind, found in rows.items():
        assert found[:, 0].tolist() == (np.flatnonzero(case.objects.classes == kind) + 1).tolist()
        for number, z, y0, x0, y1, x1 in found.tolist():
            places = np.argwhere((seg[1:, z] == number).any(0))
            assert [y0, x0, y1, x1] == [*places.min(0), *(places.max(0) + 1)]


def test_locations_on_slices():
    layers = np.zeros((2, 4, 9, 9), np.int16)
    layers[0, 1:3, 2:5, 3:4], layers[1, 3, 0, 0] = 5, 6
    rows = object_locations(layers, [1, 2])
    assert rows[1].tolist() == [[5, 1, 2, 3, 5, 4], [5, 2, 2, 3, 5, 4]] and rows[2].tolist() == [[6, 3, 0, 0, 1, 1]]
    assert object_locations(layers * 0, [1, 1])[1].shape == (0, 6)


def test_nearest_against_scipy():
    from scipy.ndimage import zoom

    labels = np.random.default_rng(0).integers(0, 99, (2, 1, 12, 18))
    for factor in (2, 3):
        shape = (1, 12 * factor, 18 * factor)
        wanted = zoom(labels, (1, 1, factor, factor), order=0, mode="nearest", grid_mode=True)
        np.testing.assert_array_equal(nearest(labels, shape), wanted)
    np.testing.assert_array_equal(nearest(labels, (1, 4, 6)), labels[:, :, 1::3, 1::3])
    assert nearest(labels, labels.shape[1:]).tolist() == labels.tolist()


def test_more_layers_than_planned(case):
    instances = {**case.configuration().configuration["instances"], "layer_classes": [1, 2]}
    with pytest.raises(InputError, match=r"cells_000.tif: objects of class 1 overlap so that they need \d layers"):
        case.run(instances=instances)


def test_more_objects_than_int16_can_number():
    def row(count: int) -> InstanceMap:
        ids = np.arange(count, dtype=np.int32)[None, None, None] + 1
        return InstanceMap(ids, np.ones(count, np.int64), np.zeros((1, 1, count), np.int32))

    stack = label_stack(row(module.MAX_OBJECTS), [1])
    assert stack.dtype == np.int16 and stack[1].max() == 32767 and stack.min() == 1
    with pytest.raises(InputError, match="holds 32,768 objects, but a preprocessed image can hold 32,767"):
        label_stack(row(module.MAX_OBJECTS + 1), [1])


def test_labels_of_another_size(case):
    tifffile.imwrite(case.images[0], np.ones((96, 100), np.uint16))
    with pytest.raises(InputError, match="cells_000.tif: the labels have the shape 1×96×112, the image has 1×96×100"):
        case.run()


def test_a_damaged_file_is_named_once(tmp_path):
    """Where a process of nnU-Net's died of it, the file is read again to say why."""
    description = dataset()
    (tmp_path / "x_0000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"x_0000\.png cannot be read") as told:
        check_files([str(tmp_path / "x_0000.png")], None, PlansManager(plans(description)), description)
    assert "InstanceIO" not in str(told.value)


@pytest.mark.parametrize(
    ("properties", "planned", "expected"),
    [
        ({"spacing": [2, 0.25, 0.25], "spacing_of_metadata": True}, [1.0, 1.0, 1.0, 3], [1, 1, 1]),
        ({"spacing": [2, 0.25, 0.25], "spacing_file": True}, [2, 0.25, 0.25, 3], [2, 0.25, 0.25]),
        ({"spacing": (999, 1, 1)}, [999.0, 1.0, 1.0], [999, 1, 1]),
        # a stack of ImageJ for a model of flat pictures or of stacks without a spacing: pixel for pixel
        ({"spacing": [2, 0.25, 0.25], "spacing_of_metadata": True}, [999.0, 1.0, 1.0], [2, 1, 1]),
        (
            {"spacing": [2, 0.25, 0.25], "spacing_of_metadata": True, "spacing_file": True},
            [2, 0.5, 0.5],
            [2, 0.25, 0.25],
        ),
        ({"spacing": [2, 0.25, 0.25], "spacing_file": True}, [1.0, 1.0, 1.0], [2, 0.25, 0.25]),
        ({"spacing": [2, 0.25, 0.25], "sitk_stuff": {}}, [1.0, 1.0, 1.0], [2, 0.25, 0.25]),
        ({"spacing": (1, 1, 1)}, [2, 0.25, 0.25], None),
    ],
)
def test_a_spacing_that_the_plans_do_not_know_counts_pixels(case, properties, planned, expected):
    planned, (dim,) = planned[:3], planned[3:] or (2,)
    case.plans.plans["original_median_spacing_after_transp"] = planned
    if expected is None:
        with pytest.raises(InputError, match="has no spacing of its pixels, .* images with 0.25 × 0.25"):
            module.comparable_spacing(properties, case.plans, dim)
    else:
        assert module.comparable_spacing(properties, case.plans, dim) == expected


def test_memory_beside_a_volume():
    """A stack of the light sheet has 300 million voxels."""
    ids = np.zeros((1, 48, 160, 160), np.int32)
    ids[0, 4:20, 8:40, 8:40], ids[0, 20:40, 60:90, 60:90] = 1, 2
    objects = InstanceMap(ids, np.array([1, 1]), np.zeros(ids.shape[1:], np.int32))
    for work, most in (
        (lambda: measure(objects, num_classes=1, spacing=(1, 1, 1)), 4),  # bytes of each voxel
        (lambda: label_stack(objects, [1]), 11),
    ):
        tracemalloc.start()
        try:
            work()
            assert tracemalloc.get_traced_memory()[1] < most * ids.size
        finally:
            tracemalloc.stop()
