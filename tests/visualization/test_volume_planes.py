"""Planes are upright, in radiological convention, of the right aspect, and image and labels lie on each other."""

from __future__ import annotations

import io

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from maskmed_nnu.instances import formats
from maskmed_nnu.visualization.case_pictures import Layer, colour_table, encode, resize_labels
from maskmed_nnu.visualization.case_view import MOST_BYTES, MOST_SLICES, PLANE_PIXELS, view_case
from maskmed_nnu.visualization.volume_planes import VolumeView

SPACING = (1.0, 1.5, 3.0)
"""Along left, anterior (RAS: x, y, z)."""
MARK = "#E69F00"


def phantom(path, code: str, *, tilt: float = 0.0, spacing=SPACING):
    """A body whose bright mark is left, anterior and superior, stored in the order ``code``, oblique by ``tilt``°."""
    body = np.zeros((40, 30, 14), np.float32)  # towards right, anterior, superior
    body[4:36, 4:26, 2:12] = 100
    body[6:12, 20:25, 9:11] = 400
    turn = np.deg2rad(tilt)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing)
    to_code = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    stored = apply_orientation(body, to_code)
    nibabel.save(nibabel.Nifti1Image(stored, affine @ inv_ornt_aff(to_code, body.shape)), path)
    return formats.read(path).values


def view_of(path, values):
    labels = (values > 300).astype(np.uint8)
    colours = colour_table([MARK])
    return view_case(path, [Layer(labels, labels, colours, colours)])


def pixels(picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB")).astype(int)


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Of a mask, as shares of height and width."""
    rows, columns = np.nonzero(mask)
    return rows.mean() / mask.shape[0], columns.mean() / mask.shape[1]


def marked(picture) -> np.ndarray:
    rgb = pixels(picture)
    return rgb[..., 0] - rgb[..., 2] > 60


@pytest.mark.parametrize("tilt", [0, 20])
@pytest.mark.parametrize("code", ["RAS", "LPS", "LAS", "PIR", "ASL", "SRP"])
def test_the_patients_left_anterior_top_is_right_and_up(tmp_path, code, tilt):
    values = phantom(tmp_path / "image.nii.gz", code, tilt=tilt)
    axial, coronal, sagittal = view_of(tmp_path / "image.nii.gz", values).planes

    assert [picture.name.split()[0] for picture in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    # RAS: the mark's x is low, on the patient's left only where x runs to the right
    for picture, edges, wanted in (
        (axial, ("R", "L", "A", "P"), (True, True)),
        (coronal, ("R", "L", "S", "I"), (True, True)),
        (sagittal, ("A", "P", "S", "I"), (True, False)),
    ):
        row, column = centre(marked(picture))
        assert picture.edges == edges
        assert (row < 0.5, column > 0.5) == wanted, (code, picture.name)


def test_pixels_are_square_and_labels_lie_on_what_they_mark(tmp_path):
    values = phantom(tmp_path / "image.nii.gz", "LPS", tilt=10)
    view = view_of(tmp_path / "image.nii.gz", values)
    axial, coronal, sagittal = view.planes

    assert (axial.width, axial.height) == (round(PLANE_PIXELS * 40 / 45), PLANE_PIXELS)  # 40 × 45 mm
    assert (coronal.width, coronal.height) == (round(PLANE_PIXELS * 40 / 42), PLANE_PIXELS)  # 40 × 42 mm
    assert (sagittal.width, sagittal.height) == (PLANE_PIXELS, round(PLANE_PIXELS * 42 / 45))
    plain = view_case(
        tmp_path / "image.nii.gz", [Layer(*(np.zeros(values.shape, np.uint8),) * 2, *(colour_table([MARK]),) * 2)]
    )
    for picture in plain.planes:
        assert not marked(picture).any()  # grey without labels
    bright = pixels(plain.slices[[one.name for one in plain.slices].index(axial.name)])[..., 0] > 170
    assert np.allclose(np.array(centre(marked(axial))) * 360, np.array(centre(bright)) * 360, atol=0.5)
    assert 0.7 < marked(axial).sum() / bright.sum() < 1.3


def test_the_slider_goes_through_the_labelled_slices_along_the_coarse_axis(tmp_path):
    values = phantom(tmp_path / "image.nii.gz", "ASL", spacing=(4.0, 1.0, 1.0))
    view = view_of(tmp_path / "image.nii.gz", values)

    assert [picture.name for picture in view.slices] == [f"sagittal {n} of 40" for n in range(28, 36)]  # 29 to 34, ± 1
    long = VolumeView("LPS", (1.0, 1.0, 1.0), (300, 8, 8))
    chosen = long.slices(np.ones((300, 8, 8), bool), long.main, MOST_SLICES)
    assert len(chosen) == MOST_SLICES and (chosen[0], chosen[-1]) == (299, 0)  # from above


def test_a_single_slice_is_one_picture_and_a_stack_without_a_place_has_no_sides(tmp_path):
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    nibabel.save(
        nibabel.Nifti1Image(np.random.default_rng(0).random((20, 30, 1), np.float32), affine), tmp_path / "a.nii"
    )
    flat = view_of(tmp_path / "a.nii", formats.read(tmp_path / "a.nii").values)
    assert len(flat.planes) == 1 and not flat.slices and flat.planes[0].edges == ("R", "L", "A", "P")

    stack = np.zeros((5, 20, 30), np.uint16)
    stack[2, 2:8, 3:9] = 900
    formats.write(tmp_path / "b.tif", stack)
    view = view_of(tmp_path / "b.tif", stack)
    assert not view.placed and {picture.edges for picture in view.planes} == {("",) * 4}
    row, column = centre(marked(view.planes[0]))
    assert row < 0.5 and column < 0.5  # as it is stored


def test_small_things_survive_a_smaller_picture_and_labels_are_not_mixed():
    labels = np.zeros((900, 900), np.uint16)
    labels[450:453, 450:453] = 7
    labels[100:500, 100:300] = 2
    small = resize_labels(labels, (300, 300))
    assert set(np.unique(small)) == {0, 2, 7}
    assert np.array_equal(np.unique(resize_labels(labels[::9, ::9], (500, 500))), np.unique(labels[::9, ::9]))


def test_pictures_of_noise_stay_within_their_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (24, PLANE_PIXELS, PLANE_PIXELS, 3), dtype=np.uint8)
    assert sum(map(len, encode(noise, most_bytes=MOST_BYTES))) < 1.3 * MOST_BYTES < 10e6 / 3 / (4 / 3)
