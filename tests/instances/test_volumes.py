"""NIfTI, NRRD and MetaImage: axes of one voxel, damage, sheared grids, and what a written NIfTI says of its place."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances import formats
from maskmed_nnu.instances.files import read_ids_and_geometry, write_ids
from maskmed_nnu.instances.formats.volumes import read_forms, read_header

NOISE = np.random.default_rng(0).integers(1, 250, (5, 30, 31)).astype(np.uint8)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    """``values [*axes]``, slowest first; ``header``: qform, qform_code, sform_code, unit."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.T), np.eye(4) if affine is None else affine)
    if header:
        image.set_sform(affine, header.get("sform_code", 1))
        image.set_qform(header.get("qform", affine), header.get("qform_code", 1))
        image.header.set_xyzt_units(header.get("unit", "mm"))
    nibabel.save(image, path)
    return path


def sheared(angle: float = 0.05) -> np.ndarray:
    return np.eye(4) + angle * np.eye(4, k=1) * [[1], [0], [0], [0]]


@pytest.mark.parametrize("shape", [(30, 31), (1, 30, 31), (1, 1, 30, 31), (5, 30, 31), (1, 5, 30, 31)])
def test_axes_of_one_voxel_are_the_same_whether_a_file_has_them_or_not(tmp_path, shape):
    values = NOISE[: np.prod(shape) // 930].reshape(shape)
    raster = formats.read(nifti(tmp_path / "x.nii.gz", values))
    np.testing.assert_array_equal(raster.values, values.reshape([n for n in shape if n > 1]))
    assert raster.axes == "ZYX"[-raster.values.ndim :]
    assert raster.geometry is not None and raster.geometry.dimension == min(len(shape), 3)


def test_scaled_values_are_read_as_they_are_meant(tmp_path):
    image = nibabel.Nifti1Image(NOISE.T.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "x.nii.gz")
    scaled = nibabel.load(tmp_path / "x.nii.gz").get_fdata().T
    np.testing.assert_array_equal(formats.read(tmp_path / "x.nii.gz").values, scaled)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64])
@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_values_of_every_type(tmp_path, ending, dtype):
    values = NOISE.astype(dtype) - 100
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / f"x{ending}"))
    raster = formats.read(tmp_path / f"x{ending}")
    assert raster.values.dtype == dtype
    np.testing.assert_array_equal(raster.values, values)


def test_nifti_2_is_refused_by_its_name(tmp_path):
    nibabel.save(nibabel.Nifti2Image(NOISE.T, np.eye(4)), tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match=r"x\.nii\.gz is NIfTI-2, .* save it as NIfTI-1"):
        formats.read(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_file_cut_off_is_damaged(tmp_path, ending, compressed):
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), compressed)
    data = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)  # beside some headers
    with data.open("r+b") as file:
        file.truncate(data.stat().st_size - 400)
    with pytest.raises(InputError, match=rf"x{ending} cannot be read \((?!.*No such file).*damaged"):
        formats.read(path)
    if data != path:
        data.unlink()
        with pytest.raises(InputError, match=rf"x{ending} cannot be read"):
            formats.read(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_byte_that_flipped_is_damage(tmp_path, ending):
    """Of a MetaImage ITK would give zeros."""
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), True)
    data = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(data.read_bytes())
    content[-900] ^= 0xFF
    data.write_bytes(content)
    with pytest.raises(InputError, match=f"x{ending} cannot be read"):
        formats.read(path)


@pytest.mark.parametrize(("offset", "number"), [(280, np.nan), (280, 0), (268, np.inf)])  # srow_x[0], qoffset_x
def test_a_nifti_that_lies_nowhere_says_so(tmp_path, offset, number):
    path = nifti(tmp_path / "x.nii", NOISE, np.diag([0.5, 0.5, 2, 1]))
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = np.float32(number).tobytes()
    content[252:254] = np.int16(offset == 268).tobytes()  # qform_code
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.nii does not define the position of its voxels"):
        formats.read(path)


def test_a_sheared_nifti_says_so(tmp_path):
    path = nifti(tmp_path / "x.nii.gz", NOISE, sheared())
    assert not read_header(path).readable
    with pytest.raises(InputError, match=r"x.nii.gz is sheared: two of its axes meet at 87.14° .*resample_to_output"):
        formats.read(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_another_sheared_volume_says_so(tmp_path, ending):
    image = sitk.GetImageFromArray(NOISE)
    image.SetDirection((1, 0.05, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
    with pytest.raises(InputError, match="is sheared"):
        formats.read(tmp_path / f"x{ending}")


def test_the_advice_against_shear_works(tmp_path):
    from nibabel.processing import resample_from_to, resample_to_output

    image, mask = (nibabel.load(nifti(tmp_path / f"{n}.nii.gz", NOISE, sheared())) for n in "im")
    straight = resample_to_output(image)
    nibabel.save(straight, tmp_path / "i.nii.gz")
    nibabel.save(resample_from_to(mask, straight, order=0), tmp_path / "m.nii.gz")
    one, other = (formats.read(tmp_path / f"{n}.nii.gz") for n in "im")
    assert one.values.shape == other.values.shape
    assert one.geometry == other.geometry


def test_rounding_is_no_shear(tmp_path):
    turned = np.diag([0.7, 0.7, 3, 1])
    turned[:2, :2] = 0.7 * np.array([[0.8, -0.60001], [0.6, 0.8]])
    assert formats.read(nifti(tmp_path / "x.nii.gz", NOISE, turned)).geometry is not None


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 2), (2, 1), (1, 0), (0, 4), (3, 3)])
def test_a_label_file_repeats_the_words_of_its_image(tmp_path, qform_code, sform_code):
    affine, other = np.diag([0.5, 0.5, 2, 1]), np.diag([0.5, 0.5, 2, 1])
    affine[:3, 3], other[:3, 3] = (3, 4, 5), (13, 4, 5)
    image = nifti(
        tmp_path / "i.nii.gz",
        NOISE,
        affine,
        qform=other,
        qform_code=qform_code,
        sform_code=sform_code,
        unit="micron",
    )
    geometry = formats.read(image).geometry
    write_ids(tmp_path / "l.nii.gz", NOISE[None], geometry=geometry)
    assert read_forms(tmp_path / "l.nii.gz") == read_forms(image)
    values, written = read_ids_and_geometry(tmp_path / "l.nii.gz", overlap_layers=False)
    np.testing.assert_array_equal(values[0], NOISE)
    assert written == geometry
