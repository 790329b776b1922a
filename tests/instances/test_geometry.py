"""Two geometries are one within a tenth of a voxel, and the sentence says what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from maskmed_nnu.instances.formats import Geometry
from maskmed_nnu.instances.formats.geometry import NiftiForms, difference, disagreement

SIZE = (512, 512, 60)
FORM = tuple(tuple(row) for row in np.eye(4).tolist())
IDENTITY = tuple(np.eye(3).ravel().tolist())


def geometry(spacing=(0.7, 0.7, 3.0), origin=(-179.3, -120.6, 1003.9), turned=(0.0, 0.0, 0.0), **nifti) -> Geometry:
    direction = Rotation.from_euler("xyz", turned, degrees=True).as_matrix()
    forms = NiftiForms(**{"qform": FORM, "qform_code": 1, "sform": FORM, "sform_code": 1, "unit": "mm"} | nifti)
    return Geometry(tuple(spacing), tuple(origin), tuple(direction.ravel().tolist()), forms if nifti else None)


@given(
    st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(0.05, 5)] * 3), st.tuples(*[st.floats(-999, 999)] * 3)
)
def test_headers_rounded_to_single_precision_are_one(turned, spacing, origin):
    own = geometry(spacing, origin, turned)
    single = [tuple(np.float32(values).astype(float).tolist()) for values in (own.spacing, own.origin, own.direction)]
    assert difference(Geometry(*single), own, SIZE) is None


def test_five_digits_are_enough():
    own = geometry((0.703125, 0.703125, 2.5), turned=(3, 2, 1))
    rounded = Geometry((0.70312, 0.70312, 2.5), own.origin, tuple(np.round(own.direction, 5).tolist()))
    assert difference(rounded, own, SIZE) is None


@pytest.mark.parametrize("axis", range(3))
def test_half_a_voxel_is_too_much_and_a_twentieth_is_not(axis):
    own = geometry(turned=(10, 20, 30))
    step = own.axes[:, axis] * own.spacing[axis]
    for share, sentence in ((0.5, "0.5 voxels away"), (0.05, None)):
        moved = replace(own, origin=tuple((np.array(own.origin) + share * step).tolist()))
        found = difference(moved, own, SIZE)
        assert found is None if sentence is None else (sentence in found and "first voxel" in found)


@pytest.mark.parametrize(
    ("other", "size", "sentence"),
    [
        (geometry((0.7, 0.7, 3.1)), SIZE, "a spacing of 0.7 × 0.7 × 3.1 mm instead of 0.7 × 0.7 × 3 mm"),
        (geometry((0.7, 0.7, 3.1)), (512, 512, 2), "a spacing of"),  # of few slices, too
        (geometry((0.701, 0.7, 3.0)), SIZE, "a spacing of"),  # 0.7 voxels away at the far end
        (geometry(turned=(0, 0, 0.05)), SIZE, "the direction"),
        (geometry(turned=(0, 0, 180)), SIZE, "the direction -1 "),
        (geometry(origin=(-159.3, -120.6, 1003.9)), SIZE, "28.6 voxels away"),
    ],
)
def test_what_differs_is_told(other, size, sentence):
    assert sentence in difference(other, geometry(), size)


def test_the_spacing_of_an_axis_of_one_voxel_is_none_but_its_place_is():
    own = geometry()
    assert difference(geometry((0.7, 0.7, 99.0)), own, (512, 512, 1)) is None
    assert "voxels away" in difference(geometry(origin=(-179.3, -120.6, 0.0)), own, (512, 512, 1))


def test_an_image_of_two_axes_is_compared_along_these():
    own = geometry()
    assert difference(own.to(2), own, (512, 512)) is None
    assert "voxels away" in difference(geometry(origin=(0, -120.6, 1003.9)).to(2), own, (512, 512))


def test_micrometres_are_compared_as_such():
    small = geometry((0.0005, 0.0005, 0.0005), (0, 0, 0), unit="micron")
    found = difference(geometry((0.001, 0.001, 0.001), (0, 0, 0), unit="micron"), small, (96, 96, 3))
    assert found == "a spacing of 0.001 × 0.001 × 0.001 mm instead of 0.0005 × 0.0005 × 0.0005 mm"
    assert difference(geometry((0.0005,) * 3, (0, 0, 0), unit="mm"), small, (96, 96, 3)) is None
    found = difference(geometry((0.5,) * 3, (0, 0, 0), unit="mm"), small, (96, 96, 3))
    assert found.endswith("the unit mm instead of micron")


def test_a_file_that_leaves_its_unit_open_means_that_of_the_other():
    small = geometry((0.0005,) * 3, (0.01, 0, 0), unit="micron")
    assert difference(geometry((0.5,) * 3, (10, 0, 0), unit="unknown"), small, (96, 96, 3)) is None
    assert difference(small, geometry((0.5,) * 3, (10, 0, 0), unit="unknown"), (96, 96, 3)) is None
    assert "a spacing" in difference(geometry((0.6,) * 3, (10, 0, 0), unit="unknown"), small, (96, 96, 3))


def test_a_file_without_a_place_tells_its_spacing_only():
    nowhere = geometry(origin=(0, 0, 0), qform_code=0, sform_code=0)
    assert difference(nowhere, geometry(), SIZE) is None
    assert "a spacing" in difference(geometry((1, 1, 1), qform_code=0, sform_code=0), geometry(), SIZE)


def test_forms_disagree_by_more_than_a_tenth_of_a_voxel_only():
    moved = tuple(tuple(row) for row in (np.eye(4) + 20 * np.eye(4, k=3)).tolist())
    nearly = tuple(tuple(row) for row in (np.eye(4) + 0.01 * np.eye(4, k=3)).tolist())
    used = {"sform": Geometry((1,) * 3, (-20, 0, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))}
    used["qform"] = replace(used["sform"], origin=(0, 0, 0))
    for form, place in used.items():
        forms = NiftiForms(FORM, 1, moved, 2, "mm")
        assert disagreement(replace(place, nifti=forms), (9, 9, 9)) == form
        assert disagreement(replace(place, nifti=replace(forms, qform_code=0)), (9, 9, 9)) is None
        assert disagreement(replace(place, nifti=replace(forms, sform=nearly)), (9, 9, 9)) is None
