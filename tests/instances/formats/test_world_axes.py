from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, ornt_transform
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from maskmed_nnu.instances.formats import Geometry
from maskmed_nnu.instances.formats.world_axes import (
    axis_codes,
    codes_as_read,
    in_world_order,
    turned_to_world,
    world_axes,
)

PAIRS = ("LR", "PA", "SI")
EVERY_CODE = ["".join(code) for axes in permutations(PAIRS) for code in product(*axes)]
SIZE = (3, 4, 5)
LPS_SPACING = (1.0, 2.0, 3.0)


def world() -> np.ndarray:
    """One body on its grid, towards left, posterior, superior."""
    return np.arange(np.prod(SIZE), dtype=np.float32).reshape(SIZE)


def stored(tmp_path: Path, code: str, ending: str = ".nii.gz") -> Path:
    """The same body, in a file whose axes run to ``code``; by nibabel alone."""
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(code))
    image = nibabel.Nifti1Image(world(), affine).as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(image.affine)) == code
    path = tmp_path / f"{code}.nii.gz"
    nibabel.save(image, path)
    if ending != ".nii.gz":
        sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / f"{code}{ending}"))
    return tmp_path / f"{code}{ending}"


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO, NibabelIOWithReorient, SimpleITKIOWithReorient])
def test_each_of_the_48_ways_to_store_a_body_gives_one_array_in_world_order(tmp_path, reader):
    assert len(set(EVERY_CODE)) == 48
    for code in EVERY_CODE:
        path = stored(tmp_path, code)
        array, properties = reader().read_images([str(path)])
        read = codes_as_read(path, reader=reader.__name__)
        assert read == ("RAS" if reader.__name__.endswith("WithReorient") else code)
        np.testing.assert_array_equal(turned_to_world(array, read)[0], world())
        np.testing.assert_allclose(in_world_order(properties["spacing"], read), LPS_SPACING)
        assert [SIZE[axis] for axis in world_axes(read)] == list(array.shape[1:])


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_volumes_have_the_codes_of_their_axes(tmp_path, ending):
    for code in ("LPS", "RAS", "PSR", "ILA"):
        assert codes_as_read(stored(tmp_path, code, ending), reader="SimpleITKIO") == code


def test_an_oblique_volume_has_the_code_of_its_closest_axes():
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.3, -0.4, 0.2)
    matrix = np.reshape(turn.GetMatrix(), (3, 3)) @ np.diag([-1, 1, 1])
    geometry = Geometry((0.5, 0.5, 8.0), (0.0,) * 3, tuple(matrix.ravel()))
    assert axis_codes(geometry) == "RPS"


def test_a_sheared_nifti_has_a_code(tmp_path):
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[1, 2] = 0.2
    nibabel.save(nibabel.Nifti1Image(np.zeros(SIZE, np.uint8), affine), tmp_path / "a.nii")
    assert codes_as_read(tmp_path / "a.nii", reader="NibabelIO") == "LAS"
    assert codes_as_read(tmp_path / "a.nii", reader="SimpleITKIO") == "LAS"


def test_a_nifti_without_a_form_does_not_say_how_it_lies(tmp_path):
    image = nibabel.Nifti1Image(np.zeros(SIZE, np.uint8), None)
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    for reader in ("SimpleITKIO", "NibabelIO"):
        assert codes_as_read(tmp_path / "a.nii.gz", reader=reader) is None


def test_the_form_that_the_reader_uses_counts(tmp_path):
    image = nibabel.Nifti1Image(np.zeros(SIZE, np.uint8), None)
    image.header.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    image.header.set_sform(np.diag([1.0, 1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    itk = sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetDirection()[0]
    assert codes_as_read(tmp_path / "a.nii.gz", reader="NibabelIO") == "RAS"
    assert codes_as_read(tmp_path / "a.nii.gz", reader="SimpleITKIO") == ("LAS" if itk > 0 else "RAS")


def test_a_slice_has_two_letters_and_lies_in_the_first_two_axes(tmp_path):
    image = sitk.GetImageFromArray(np.arange(6, dtype=np.float32).reshape(2, 3))
    image.SetDirection((-1.0, 0.0, 0.0, 1.0))
    for name in ("a.nii.gz", "a.mha", "a.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert codes_as_read(tmp_path / name, reader="SimpleITKIO") == "RP"
    assert world_axes("RP") == (2, 1, 0)
    array, _ = SimpleITKIO().read_images([str(tmp_path / "a.mha")])
    np.testing.assert_array_equal(turned_to_world(array[0], "RP")[..., 0], [[2, 5], [1, 4], [0, 3]])


def test_pictures_and_damaged_files_have_no_code(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    for name in ("a.nii.gz", "missing.mha", "a.png", "a.tif"):
        assert codes_as_read(tmp_path / name, reader="SimpleITKIO") is None


def test_what_a_reader_of_the_users_own_does_is_not_known(tmp_path):
    assert codes_as_read(stored(tmp_path, "RAS"), reader="ClinicsIO") is None


def test_an_array_without_a_code_keeps_its_directions():
    array = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(turned_to_world(array, None), array.transpose(2, 1, 0))
    assert in_world_order((5.0, 2.0, 1.0), None) == (1.0, 2.0, 5.0)


def test_codes_agree_with_nibabel_for_any_rotation():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        spacing = rng.uniform(0.3, 6, 3)
        affine = np.eye(4)
        affine[:3, :3] = rotation * spacing
        geometry = Geometry.from_affine(np.diag([-1.0, -1, 1, 1]) @ affine)
        assert axis_codes(geometry) == "".join(nibabel.aff2axcodes(affine))
