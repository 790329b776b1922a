"""What users of Cellpose and StarDist report of stacks does not happen to objects that are predicted in space."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from scipy import ndimage

from maskmed_nnu.instances.detections import from_instance_map, pack
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.nnunet.inference.export_prediction import revert_preprocessing, to_instances
from maskmed_nnu.nnunet.inference.predictor import packed_detections
from tests.nnunet.oracle import Oracle, dataset, grid_of_cells, oracle_predictor, plans

CUBE = (12, 20, 16)


def balls(shape, centres, radius, *, stretch=(1.0, 1.0, 1.0)) -> np.ndarray:
    """int32 ``shape``: objects of one radius; ``stretch`` are the edges of a voxel."""
    ids = np.zeros(shape, np.int32)
    for number, centre in enumerate(centres, 1):
        axes = zip(np.indices(shape), centre, stretch, strict=True)
        ids[sum(((axis - c) * edge) ** 2 for axis, c, edge in axes) <= radius**2] = number
    return ids


def unchanged(shape) -> dict:
    """What nnU-Net keeps of an image that was not cropped."""
    return {
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, edge] for edge in shape],
        "shape_after_cropping_and_before_resampling": shape,
    }


def solid_and_in_one_piece(ids: np.ndarray) -> bool:
    for number in np.unique(ids[ids > 0]):
        mask = ids == number
        if ndimage.label(mask)[1] != 1 or (ndimage.binary_fill_holes(mask) != mask).any():
            return False
        if any((ndimage.binary_fill_holes(plane) != plane).any() for plane in mask):  # a ring in a slice
            return False
    return True


@pytest.mark.parametrize("factor", [2, 6])
def test_objects_stay_solid_where_z_is_interpolated_up(factor):
    """mouseland/cellpose#1398: rings and hollow objects at an anisotropy of 6. Touching ones stay two."""
    centres = [(1, 8, 8), (3, 8, 18), (4, 18, 10), (4, 18, 17), (6, 8, 9)]
    coarse = balls((8, 28, 28), centres, 7, stretch=(4.0, 1.0, 1.0))
    packed = pack([from_instance_map(coarse[None], np.ones(len(centres), np.int64))])
    (found,) = revert_preprocessing(packed, unchanged((8 * factor, 28, 28)))
    objects, _ = to_instances([found], (0, 1, 2), 1)
    fine = objects.ids[0]
    assert np.unique(fine).tolist() == [0, 1, 2, 3, 4, 5]
    assert solid_and_in_one_piece(fine)
    sizes = np.bincount(fine.ravel())[1:] / (factor * np.bincount(coarse.ravel())[1:])
    assert sizes == pytest.approx(1, abs=0.15)


def test_no_object_vanishes_in_a_slice_or_splits_along_z():
    """mouseland/cellpose#1296: columns that lean through every slice and several tiles, close to each other."""
    truth = np.zeros((50, 30, 40), np.int32)
    for z, (number, (y, x)) in itertools.product(range(50), enumerate(itertools.product((1, 12), (1, 11, 21)), 1)):
        truth[z, y + z // 7 : y + z // 7 + 9, x + z // 9 : x + z // 9 + 9] = number
    description = dataset(ending=".tif")
    predictor = oracle_predictor(Oracle(tile=CUBE), plans(description, tile=CUBE), description)
    packed = packed_detections(predictor, torch.from_numpy(truth[None].astype(np.float32)))
    found = to_instances(revert_preprocessing(packed, unchanged(truth.shape)), (0, 1, 2), 1)[0].ids[0]
    for number in range(1, 7):
        ids = np.unique(found[truth == number])
        assert len(ids) == 1 and ids[0] > 0
        assert np.array_equal(found == ids[0], truth == number)


def test_empty_slices_and_empty_volumes_are_predicted_like_others(tmp_path):
    """mouseland/cellpose#297: slices without a cell ended the run."""
    description = dataset(ending=".tif")
    truth = grid_of_cells((40, 24, 30), pitch=6, edge=5)
    truth[:13] = truth[20:27] = truth[-6:] = 0
    (tmp_path / "out").mkdir()
    for name, ids in (("some", truth), ("none", truth * 0)):
        tifffile.imwrite(tmp_path / f"{name}_0000.tif", ids.astype(np.uint16))
    predictor = oracle_predictor(Oracle(tile=CUBE), plans(description, tile=CUBE), description)
    files = [[str(tmp_path / f"{name}_0000.tif")] for name in ("some", "none")]
    predictor.predict_from_files_sequential(files, [str(tmp_path / "out" / name) for name in ("some", "none")])
    some, none = (read_ids(tmp_path / "out" / f"{name}.tif", overlap_layers=False)[0] for name in ("some", "none"))
    assert some.shape == none.shape == truth.shape and not none.any()
    assert np.array_equal(some > 0, truth > 0)
    halves = ndimage.label(truth > 0)[1]  # an id of truth may be on both sides of the empty slices
    assert len(np.unique(some)) - 1 >= min(halves, len(np.unique(truth)) - 1)


@pytest.mark.parametrize("forward", [(1, 0, 2), (2, 0, 1)])
def test_objects_come_back_to_the_grid_of_a_file_whose_slices_run_along_another_axis(tmp_path, forward):
    """Anisotropic voxels, tiles thinner than the volume and wider than it, ids through reader, network and writer."""
    truth = grid_of_cells((30, 26, 18), pitch=6, edge=5)
    spacing = np.empty(3)
    spacing[list(forward)] = (3.0, 1.0, 1.0)
    image = sitk.GetImageFromArray(truth.astype(np.float32))
    image.SetSpacing(spacing[::-1].tolist())
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a_0000.nii.gz"))
    description, tile = dataset(ending=".nii.gz"), (10, 28, 16)
    plan = plans(description, tile=tile, spacing=(3.0, 1.0, 1.0))
    backward = [forward.index(axis) for axis in range(3)]
    plan |= {"transpose_forward": list(forward), "transpose_backward": backward}
    predictor = oracle_predictor(Oracle(tile=tile), plan, description)
    (tmp_path / "out").mkdir()
    predictor.predict_from_files_sequential([[str(tmp_path / "a_0000.nii.gz")]], [str(tmp_path / "out" / "a")])
    found = sitk.ReadImage(str(tmp_path / "out" / "a.nii.gz"))
    assert found.GetSpacing() == image.GetSpacing() and found.GetDirection() == image.GetDirection()
    ids = sitk.GetArrayFromImage(found)
    pairs = np.unique(np.stack([ids.ravel(), truth.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(ids)) == len(np.unique(truth)), "one id for each"
    assert np.array_equal(ids > 0, truth > 0)


def test_memory_is_that_of_the_label_map_and_the_objects():
    """stardist/stardist#130: tens of GB for the candidates of 355 × 500 × 1200 voxels, a hundred bytes a voxel.

    Eight views of a volume a third of which is cells: beside the image, numpy holds a few label maps of 4 bytes.
    """
    tile = (24, 24, 24)
    truth = grid_of_cells((36, 60, 48), pitch=12, edge=11)
    description = dataset()
    plan = plans(description, tile=tile)
    plan["configurations"]["3d_fullres"]["batch_size"] = 1
    predictor = oracle_predictor(Oracle(tile=tile), plan, description)
    properties = unchanged(truth.shape)
    tracemalloc.start()
    packed = packed_detections(predictor, torch.from_numpy(truth[None].astype(np.float32)))
    objects, _ = to_instances(revert_preprocessing(packed, properties), (0, 1, 2), 1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(objects.classes) == len(np.unique(truth)) - 1 == 60
    assert most < 40 * truth.size
