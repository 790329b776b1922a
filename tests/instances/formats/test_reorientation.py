"""A turned volume has each value at its place in the world, of its type, in the orientation that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.formats.reorientation import code_of, turn
from maskmed_nnu.instances.formats.volumes import read_forms

CODES = ("LPS", "RAS", "SAR", "PIL", "ALI", "IPR")
SIZE = (3, 4, 5)
OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.3, 0.1) @ np.diag([-0.7, 1.5, 3.0]), [10.0, -20.0, 30.0]
)


def values(dtype: Any = np.int16, shape: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def nifti(path: Path, array: np.ndarray, affine: np.ndarray = OBLIQUE) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    nibabel.save(image, path)
    return image


def itk(path: Path, array: np.ndarray, *, vector: bool = False) -> sitk.Image:
    n = array.ndim - vector
    image = sitk.GetImageFromArray(array, isVector=vector)
    direction = np.eye(n)
    flat = min(n, 3)
    lps = np.diag([-1.0, -1, 1]) @ OBLIQUE[:3, :3] / np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    direction[:flat, :flat] = lps if flat == 3 else [[0.8, 0.6], [-0.6, 0.8]]
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing((0.7, 1.5, 3.0, 2.0)[:n])
    image.SetOrigin((10.0, -20.0, 30.0, 4.0)[:n])
    sitk.WriteImage(image, str(path))
    return image


def by_place(image: Any) -> dict[tuple[float, ...], Any]:
    """The value at each point of the world, of an image of either library."""
    found = {}
    if isinstance(image, sitk.Image):
        for index in np.ndindex(*image.GetSize()):
            point = image.TransformIndexToPhysicalPoint(tuple(map(int, index)))
            found[tuple(np.round(point, 3) + 0.0)] = image[tuple(map(int, index))]
        return found
    array = np.asanyarray(image.dataobj)
    for index in np.ndindex(*array.shape[:3]):
        found[tuple(np.round(nibabel.affines.apply_affine(image.affine, index), 3) + 0.0)] = array[index].tolist()
    return found


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nifti(tmp_path, code, ending):
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    image = nifti(source, values())
    assert code_of(source) == "LAS"
    turn(source, code)(target)
    result = nibabel.load(target)
    assert "".join(nibabel.aff2axcodes(result.affine)) == code == code_of(target)
    assert by_place(result) == by_place(image)
    assert result.get_data_dtype() == np.int16
    (_, before), (_, after) = read_forms(source), read_forms(target)
    assert (after.qform_code, after.sform_code, after.unit) == (1, 2, before.unit)
    np.testing.assert_allclose(result.get_qform(), result.get_sform(), atol=1e-4)
    ornt = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(code)
    )
    np.testing.assert_allclose(result.affine, image.as_reoriented(ornt).affine, atol=1e-4)  # nibabel's own way
    assert by_place(sitk.ReadImage(str(target))).keys() == by_place(sitk.ReadImage(str(source))).keys()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_other_volumes(tmp_path, code, ending):
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    image = itk(source, values())
    turn(source, code)(target)
    result = sitk.ReadImage(str(target))
    assert code_of(target) == code
    assert by_place(result) == by_place(image) and result.GetPixelID() == image.GetPixelID()
    expected = sitk.DICOMOrient(image, code)  # ITK's own way
    assert result.GetSize() == expected.GetSize()
    np.testing.assert_allclose(result.GetDirection(), expected.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result), sitk.GetArrayFromImage(expected))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_types_are_kept(tmp_path, dtype, ending):
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    (nifti if ending == ".nii.gz" else itk)(source, values(dtype))
    turn(source, "SAR")(target)
    before, after = (sitk.ReadImage(str(path)) for path in (source, target))
    assert after.GetPixelID() == before.GetPixelID()
    assert sorted(by_place(after).values()) == sorted(by_place(before).values())


def test_scaled_values_stay_as_they_are_stored(tmp_path):
    image = nibabel.Nifti1Image(values(np.uint8), OBLIQUE)
    image.header.set_slope_inter(0.37, -5.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    turn(tmp_path / "a.nii.gz", "RAS")(tmp_path / "b.nii.gz")
    before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "b.nii.gz")
    assert (after.dataobj.slope, after.dataobj.inter) == (before.dataobj.slope, before.dataobj.inter)
    assert sorted(after.dataobj.get_unscaled().ravel()) == sorted(before.dataobj.get_unscaled().ravel())
    assert by_place(after) == by_place(before)


def test_there_and_back_is_nothing(tmp_path):
    image = nifti(tmp_path / "a.nii.gz", values())
    turn(tmp_path / "a.nii.gz", "SPR")(tmp_path / "b.nii.gz")
    turn(tmp_path / "b.nii.gz", "LAS")(tmp_path / "c.nii.gz")
    back = nibabel.load(tmp_path / "c.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), np.asanyarray(image.dataobj))
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)


def test_channels_behind_the_axes_of_space_stay_behind(tmp_path):
    image = nifti(tmp_path / "a.nii.gz", values(shape=(*SIZE, 2)))
    image.header["pixdim"][4] = 2.5
    nibabel.save(image, tmp_path / "a.nii.gz")
    turn(tmp_path / "a.nii.gz", "SAR")(tmp_path / "b.nii.gz")
    result = nibabel.load(tmp_path / "b.nii.gz")
    assert by_place(result) == by_place(image) and result.header.get_zooms()[3] == 2.5
    for name, vector in (("v.nrrd", True), ("v.mha", True), ("t.nrrd", False), ("t.mha", False)):
        source = itk(tmp_path / name, values(shape=(*SIZE, 2)), vector=vector)
        turn(tmp_path / name, "SAR")(tmp_path / f"turned_{name}")
        assert by_place(sitk.ReadImage(str(tmp_path / f"turned_{name}"))) == by_place(source)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_slice_is_turned_in_its_plane(tmp_path, ending):
    image = itk(tmp_path / f"a{ending}", values(shape=(3, 4)))
    assert code_of(tmp_path / f"a{ending}") == "LP"
    turn(tmp_path / f"a{ending}", "ASR")(tmp_path / f"b{ending}")
    assert code_of(tmp_path / f"b{ending}") == "AR"
    result = sitk.ReadImage(str(tmp_path / f"b{ending}"))
    assert result.GetSize() == (3, 4)
    if ending != ".nii.gz":  # which says it in three dimensions, ITK reads the angle in the plane alone
        assert by_place(result) == by_place(image)


def test_what_does_not_say_how_it_lies_is_refused(tmp_path):
    image = nibabel.Nifti1Image(values(), None)
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(
        InputError, match="a.nii does not define its orientation, because its qform_code and sform_code are 0"
    ):
        turn(tmp_path / "a.nii", "RAS")


def test_two_forms_of_which_one_is_wrong_are_refused(tmp_path):
    image = nibabel.Nifti1Image(values(), np.eye(4))
    image.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    image.set_sform(np.eye(4), 1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match="by its qform it is LAS, by its sform RAS"):
        turn(tmp_path / "a.nii", "RAS")
