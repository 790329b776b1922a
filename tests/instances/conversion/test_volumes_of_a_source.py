"""Conversion of volumes: a mask lies where its image lies, and the data set says of its place what the source said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import Conversion, convert
from maskmed_nnu.instances.conversion.sources import LabelMapSource, SemanticSource
from maskmed_nnu.instances.formats.volumes import read_forms

IDS = np.zeros((24, 26), np.uint8)
IDS[3:9, 4:12], IDS[14:20, 2:9] = 1, 2
IMAGE = (40 + 100 * (IDS > 0)).astype(np.int16)


def save(
    path: Path, values: np.ndarray, affine: np.ndarray | None = None, unit: str = "mm", qform: object = None
) -> None:
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.T), np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    if qform is not None:
        image.set_sform(affine, 2)
        image.set_qform(qform, 1)
    path.parent.mkdir(exist_ok=True)
    nibabel.save(image, path)


def run(tmp_path: Path, semantic: bool = False) -> tuple[Conversion, Path]:
    folder = tmp_path / "Dataset010_T"
    parts = tmp_path / "images", tmp_path / "masks"
    return convert(SemanticSource(*parts) if semantic else LabelMapSource(*parts, "cell"), folder), folder


def stack(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 4)


@pytest.mark.parametrize("semantic", [False, True])
@pytest.mark.parametrize(
    ("mask", "unit", "sentence"),
    [
        (np.eye(4) + 20 * np.eye(4, k=3), "mm", "20 voxels away"),
        (
            np.diag([2.0, 2, 2, 1]),
            "micron",
            "a spacing of 0.002 × 0.002 × 0.002 mm instead of 0.001 × 0.001 × 0.001 mm",
        ),
    ],
)
def test_a_mask_elsewhere(tmp_path, mask, unit, sentence, semantic):
    save(tmp_path / "images" / "a.nii.gz", stack(IMAGE), unit=unit)
    save(tmp_path / "masks" / "a.nii.gz", stack(IDS), mask, unit)
    with pytest.raises(
        InputError, match=rf"masks/a.nii.gz is not on the grid of its image a.nii.gz: it has .*{sentence}"
    ):
        run(tmp_path, semantic)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (stack(IMAGE)[None], stack(IDS)[None]),
        (stack(IMAGE), stack(IDS)[None]),
        (stack(IMAGE)[None], stack(IDS)),
        (IMAGE, IDS[None]),
        (IMAGE[None], IDS),
        (IMAGE[None, None], IDS),
    ],
)
def test_axes_of_one_voxel_may_be_left_out(tmp_path, image, mask):
    save(tmp_path / "images" / "a.nii.gz", image)
    save(tmp_path / "masks" / "a.nii.gz", mask)
    _, folder = run(tmp_path)
    written = [sitk.ReadImage(str(folder / path)) for path in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")]
    assert written[0].GetSize() == written[1].GetSize()  # or nnU-Net would say that spacings differ
    np.testing.assert_array_equal(np.squeeze(sitk.GetArrayFromImage(written[1])), np.squeeze(mask))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_both_forms_and_the_unit_are_kept_and_told_where_they_disagree(tmp_path, ending):
    sform = np.diag([0.5, 0.5, 2, 1])
    sform[0, 3] = 10
    for name in "ab":
        save(tmp_path / "images" / f"{name}{ending}", stack(IMAGE), sform, "micron", qform=np.diag([0.5, 0.5, 2, 1]))
        save(tmp_path / "masks" / f"{name}.nii.gz", stack(IDS), np.diag([0.5, 0.5, 2, 1]), "micron")
    conversion, folder = run(tmp_path)
    said = read_forms(tmp_path / "images" / f"a{ending}")
    assert read_forms(folder / "imagesTr/a_0000.nii.gz") == read_forms(folder / "labelsTr/a.nii.gz") == said
    note = f"note       sform and qform disagree in 2 of the images, the qform is used: a{ending}, b{ending}"
    assert note in conversion.lines


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_volumes_without_forms_become_nifti_on_the_same_grid(tmp_path, ending):
    for part, values in (("images", stack(IMAGE)), ("masks", stack(IDS))):
        (tmp_path / part).mkdir()
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((0.5, 0.7, 2.0))
        image.SetOrigin((-3, 4, 5))
        image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
        sitk.WriteImage(image, str(tmp_path / part / f"a{ending}"))
    _, folder = run(tmp_path)
    for path, values in (("imagesTr/a_0000.nii.gz", stack(IMAGE)), ("labelsTr/a.nii.gz", stack(IDS))):
        written = sitk.ReadImage(str(folder / path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), values)
        np.testing.assert_allclose(written.GetSpacing(), image.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(written.GetOrigin(), image.GetOrigin(), rtol=1e-6)
        np.testing.assert_allclose(written.GetDirection(), image.GetDirection(), atol=1e-6)


def test_the_third_axis_of_a_nifti_is_space_unless_it_is_named(tmp_path):
    values = np.stack([IMAGE, IMAGE + 1, IMAGE + 2])
    save(tmp_path / "images" / "a.nii.gz", values)
    save(tmp_path / "masks" / "a.nii.gz", IDS)
    with pytest.raises(InputError, match=r"the axes ZYX .*axes"):
        run(tmp_path)
    source = LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell", order="CYX")
    convert(source, tmp_path / "Dataset010_T")
    files = sorted((tmp_path / "Dataset010_T/imagesTr").iterdir())
    np.testing.assert_array_equal([sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files], values)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (IDS, r"images/a.nii.gz has the axes ZYX \(4 × 24 × 26\), but its annotation is 2D and does not fit slices"),
        (stack(IDS)[:3], "masks/a.nii.gz has the size 3 × 24 × 26, but its image a.nii.gz has 4 × 24 × 26"),
        (
            np.where(stack(IDS) > 1, np.nan, stack(IDS)).astype(np.float32),
            "masks/a.nii.gz: The mask holds nan; ids are",
        ),
        (stack(IDS) * 0.5, "masks/a.nii.gz: The mask holds 0.5; ids are whole numbers"),
        (stack(IDS).astype(np.float64) * 2**32, "masks/a.nii.gz: The mask holds the id 8589934592; ids must fit in 32"),
        (-stack(IDS).astype(np.int16), "masks/a.nii.gz: The mask holds the negative value -2"),
    ],
)
def test_labels_that_no_volume_has_are_refused_in_one_sentence(tmp_path, mask, said):
    save(tmp_path / "images" / "a.nii.gz", stack(IMAGE))
    save(tmp_path / "masks" / "a.nii.gz", mask)
    with pytest.raises(InputError, match=said) as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_the_spacing_of_stacks_is_told_or_given(tmp_path):
    for part, values in (("images", stack(IMAGE)), ("masks", stack(IDS))):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", values.astype(np.uint16), metadata={"axes": "ZYX"})
        told = {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 3}}
        tifffile.imwrite(tmp_path / part / "b.tif", values.astype(np.uint16), **told)
    parts = tmp_path / "images", tmp_path / "masks"
    for given, a, b in ((None, None, [3, 0.5, 0.5]), ((5.0, 1.0, 2.0), [5, 1, 2], [5, 1, 2])):
        folder = tmp_path / f"Dataset01{len(given or ())}_T"
        convert(LabelMapSource(*parts, "cell", spacing=given), folder)
        for name, spacing in (("a", a), ("b", b)):
            path = folder / "labelsTr" / f"{name}.json"
            assert (json.loads(path.read_text())["spacing"] if path.is_file() else None) == spacing
    shutil.rmtree(parts[0])
    save(parts[0] / "a.nii.gz", stack(IMAGE))
    shutil.rmtree(parts[1])
    save(parts[1] / "a.nii.gz", stack(IDS))
    with pytest.raises(InputError, match="a.nii.gz is not a TIFF stack, and spacing applies only to those"):
        convert(LabelMapSource(*parts, "cell", spacing=(5.0, 1.0, 2.0)), tmp_path / "Dataset012_T")


def test_stacks_without_a_spacing_are_told(tmp_path):
    for name, told in (
        ("a", {"metadata": {"axes": "ZYX"}}),
        ("b", {"metadata": {"axes": "ZYX", "spacing": 2, "unit": "um"}}),
    ):
        for part, values in (("images", IMAGE), ("masks", IDS)):
            (tmp_path / part).mkdir(exist_ok=True)
            tifffile.imwrite(
                tmp_path / part / f"{name}.tif", stack(values.astype(np.uint16)), imagej=True, resolution=(2, 2), **told
            )
    done, _ = run(tmp_path)
    assert "note       1 stack without a spacing, treated as isotropic: a.tif; give spacing" in "\n".join(done.lines)
