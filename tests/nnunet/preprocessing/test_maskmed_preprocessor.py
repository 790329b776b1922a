"""The preprocessor's checks; what passes them is preprocessed exactly as nnU-Net does it."""

from __future__ import annotations

import gzip
import pickle

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner
from maskmed_nnu.nnunet.preprocessing.case_checks import check_case, check_files, check_volumes
from maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor import MaskMedPreprocessor

SHAPE = (12, 10, 8)


@pytest.fixture
def case(tmp_path, make_planner):
    """Files of a two-channel case with labels, and the managers to preprocess it with."""
    planner = make_planner(MaskMedPlanner, shape=(20, 20, 20), channels=2)
    plans = PlansManager(planner.plan_experiment())
    rng = np.random.default_rng(0)
    images = [str(tmp_path / f"c_{channel:04d}.nii.gz") for channel in range(2)]
    for file in images:
        sitk.WriteImage(sitk.GetImageFromArray(rng.normal(size=SHAPE).astype(np.float32)), file)
    seg = str(tmp_path / "c.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 3, SHAPE).astype(np.uint8)), seg)
    return images, seg, plans, plans.get_configuration("3d_fullres"), planner.dataset_json


def test_same_arrays_as_nnunet(case):
    images, seg, plans, configuration, dataset = case
    stock = DefaultPreprocessor(verbose=False).run_case(images, seg, plans, configuration, dataset)
    ours = pickle.loads(pickle.dumps(MaskMedPreprocessor(verbose=False))).run_case(
        images, seg, plans, configuration, dataset
    )
    np.testing.assert_array_equal(ours[0], stock[0])
    np.testing.assert_array_equal(ours[1], stock[1])
    assert ours[2].keys() == stock[2].keys()


@pytest.mark.parametrize("look", ["preprocess", "check"])
def test_wrong_number_of_channels_names_the_files(case, look):
    images, _, plans, configuration, dataset = case
    with pytest.raises(InputError, match=r"c_0000.nii.gz: the case has 1 channel, the data set has 2 \(CT, CT\)"):
        if look == "check":
            check_files(images[:1], None, plans, dataset)
        else:
            MaskMedPreprocessor(verbose=False).run_case(images[:1], None, plans, configuration, dataset)


def test_labels_on_another_grid(case, tmp_path):
    images, _, plans, configuration, dataset = case
    other = str(tmp_path / "other.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((12, 10, 9), np.uint8)), other)
    with pytest.raises(InputError, match=r"other.nii.gz: the labels have the shape 12×10×9, the image has 12×10×8"):
        MaskMedPreprocessor(verbose=False).run_case(images, other, plans, configuration, dataset)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nifti_with_values_that_are_not_finite(case, tmp_path, value):
    """ITK's reader would silently give 0 for them."""
    images, seg, plans, configuration, dataset = case
    voxels = np.zeros(SHAPE[::-1], np.float32)
    voxels[1, 2, 3:6] = value
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), images[1])
    with pytest.raises(InputError, match=r"c_0001.nii.gz: the file holds 3 of 960 voxels that are NaN or infinite"):
        MaskMedPreprocessor(verbose=False).run_case(images, seg, plans, configuration, dataset)


def test_integer_nifti_and_other_formats_are_not_read_twice(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"no image")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), tmp_path / "x.nii.gz")
    check_volumes([str(tmp_path / "x.tif"), str(tmp_path / "x.nii.gz"), str(tmp_path / "missing.nii.gz")])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_a_truncated_nifti(tmp_path, dtype, ending):
    """ITK's reader would silently give 0 for what is missing."""
    file = tmp_path / f"x{ending}"
    noise = np.random.default_rng(0).integers(0, 999, (9, 9, 9)).astype(dtype)
    nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), file)
    check_volumes([str(file)])
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 40)
    with pytest.raises(InputError, match="ends before its last voxel"):
        check_volumes([str(file)])


def test_a_gzip_of_several_members_is_complete(tmp_path):
    """As bgzip and pigz write it: its last four bytes do not tell the whole size."""
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9), np.int16), np.eye(4)), tmp_path / "x.nii")
    content = (tmp_path / "x.nii").read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    check_volumes([str(tmp_path / "x.nii.gz")])


def test_a_file_that_is_no_image(case):
    images, _, plans, _, dataset = case
    with open(images[0], "wb") as file:
        file.write(b"no image")
    with pytest.raises(InputError, match="c_0000.nii.gz.*SimpleITKIO cannot read the case"):
        check_files(images, None, plans, dataset)


def test_arrays_are_checked_too():
    data = np.zeros((2, 4, 4, 4), np.float32)
    check_case(data, np.zeros((1, 4, 4, 4)), channels=["CT", "PET"])
    data[1, 0, 0, :2] = np.nan
    with pytest.raises(InputError, match=r"channel 1 \(PET\) holds 2 of 64"):
        check_case(data, None, channels=["CT", "PET"])


def test_labels_and_channels_that_lie_elsewhere(case, tmp_path):
    images, seg, plans, configuration, dataset = case
    moved = sitk.ReadImage(seg)
    moved.SetOrigin((0, 5, 0))
    sitk.WriteImage(moved, seg)
    with pytest.raises(InputError, match=r"c.nii.gz is not on the grid of its image c_0000.nii.gz: .* 5 voxels away"):
        MaskMedPreprocessor(verbose=False).run_case(images, seg, plans, configuration, dataset)
    moved = sitk.ReadImage(images[1])
    moved.SetOrigin((0, 5, 0))
    sitk.WriteImage(moved, images[1])
    with pytest.raises(InputError, match=r"c_0001.nii.gz is not on the grid of c_0000.nii.gz of the same case"):
        MaskMedPreprocessor(verbose=False).run_case(images, None, plans, configuration, dataset)


@pytest.mark.parametrize("look", ["preprocess", "check"])
def test_a_sheared_image_to_predict(case, look):
    images, _, plans, configuration, dataset = case
    affine = np.eye(4)
    affine[0, 1] = 0.05
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE[::-1], np.float32), affine), images[0])
    with pytest.raises(InputError, match=r"^\S*c_0000.nii.gz is sheared"):
        if look == "check":
            check_files(images, None, plans, dataset)
        else:
            MaskMedPreprocessor(verbose=False).run_case(images, None, plans, configuration, dataset)


def test_an_image_to_predict_whose_forms_disagree_is_told(case, capsys):
    images, _, plans, configuration, dataset = case
    for file in images:
        image = nibabel.load(file)
        image.set_sform(np.eye(4) + 9 * np.eye(4, k=3), 2)
        image.set_qform(np.eye(4), 1)
        nibabel.save(image, file)
    MaskMedPreprocessor(verbose=False).run_case(images, None, plans, configuration, dataset)
    assert capsys.readouterr().out.count("sform and qform disagree in 2 files") == 1


def test_a_damaged_meta_image(tmp_path):
    """ITK's reader would give zeros."""
    noise = np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / "x.mha"), True)
    check_volumes([str(tmp_path / "x.mha")])
    content = bytearray((tmp_path / "x.mha").read_bytes())
    content[-300] ^= 0xFF
    (tmp_path / "x.mha").write_bytes(content)
    with pytest.raises(InputError, match=r"x.mha: the file is damaged \(its compressed voxels"):
        check_volumes([str(tmp_path / "x.mha")])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.5, "the label map holds 0.5; labels are whole numbers"),
        (-1, "the label map holds the negative value -1, which nnU-Net would take for background"),
        (40_000, "the label map holds 40000, but int16 holds values from -32768 to 32767"),
        (np.nan, "the label map holds nan"),
    ],
)
def test_labels_that_nnunet_would_narrow_in_silence_are_refused(value, sentence):
    seg = np.ones((1, 4, 4, 4), np.float32)
    seg[0, 0, 0, 0] = value
    with pytest.raises(InputError, match=sentence):
        check_case(np.zeros((2, 4, 4, 4), np.float32), seg, channels=["CT", "PET"])
