"""Volumes that are not all stored in the same orientation: an error where left and right are distinguished, else a
warning.
"""

from __future__ import annotations

import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.preprocessing.orientation_checks import check_orientations, files_by_code, partners_by_name

CODES = {f"d/c{i:02d}_0000.nii.gz": "RPS" if i in (3, 5) else "LPS" for i in range(20)}
_OPPOSITE = str.maketrans("RLAPSI", "LRPAIS")
GIVEN = {"reader": "SimpleITKIO", "data_set": "Dataset005_G"}


def test_one_orientation_is_no_matter():
    assert check_orientations({"a.nii": "LPS", "b.nii": "LPS"}, partners="'a' and 'b'", **GIVEN) is None
    assert check_orientations({}, partners="'a' and 'b'", **GIVEN) is None


def test_mixed_ones_are_counted_with_the_first_files_and_the_cure():
    with pytest.raises(InputError) as error:
        check_orientations(CODES, partners="'kidney_left' and 'kidney_right'", **GIVEN)
    assert str(error.value) == (
        "The images of Dataset005_G are not all stored in the same orientation, and SimpleITKIO takes them as "
        "they are: "
        "18 are LPS (c00_0000.nii.gz, c01_0000.nii.gz, c02_0000.nii.gz and 15 more), "
        "2 are RPS (c03_0000.nii.gz, c05_0000.nii.gz), but 'kidney_left' and 'kidney_right' are distinguished by their "
        'place in the array; set "overwrite_image_reader_writer": "NibabelIOWithReorient" in dataset.json and plan '
        "again, or turn the files with maskmed convert --reorient RAS --images FOLDER --output NEW_FOLDER."
    )
    warning = check_orientations(CODES, partners=None, **GIVEN)
    assert warning is not None and warning.startswith(
        "the images of Dataset005_G are not all stored in the same orientation"
    )
    assert "18 are LPS" in warning and "NibabelIOWithReorient" in warning


@pytest.mark.parametrize("other", ["PLS", "LPI", "LAS", "SPL"])
def test_signs_and_order_both_count(other):
    with pytest.raises(InputError, match=other):
        check_orientations({"a.nii.gz": "LPS", "b.nii.gz": other}, partners="'a' and 'b'", **GIVEN)


@pytest.mark.parametrize(("ending", "other"), [(".nrrd", "RAS"), (".mha", "RAS"), (".nii.gz", "RA")])
def test_files_that_such_a_reader_does_not_take_are_turned(ending, other):
    with pytest.raises(InputError) as error:
        check_orientations(
            {f"a{ending}": other.translate(_OPPOSITE), f"b{ending}": other}, partners="'a' and 'b'", **GIVEN
        )
    assert "WithReorient" not in str(error.value)
    assert str(error.value).endswith(
        "; turn the files with maskmed convert --reorient RAS --images FOLDER --output NEW_FOLDER and plan again."
    )


def test_many_orientations_do_not_fill_the_screen():
    codes = {f"{i}.nii": code for i, code in enumerate(["LPS", "RPS", "LAS", "LPI", "RAS", "RAI"])}
    warning = check_orientations(codes, partners=None, **GIVEN)
    assert warning is not None and "and 2 more orientations" in warning


def test_the_most_frequent_code_comes_first():
    assert list(files_by_code({"a": "RAS", "b": "LPS", "c": "LPS", "d": "LAS"})) == ["LPS", "LAS", "RAS"]


@pytest.mark.parametrize(
    "names",
    [
        ("kidney_left", "kidney_right"),
        ("Left Kidney", "Right Kidney"),
        ("RightLung", "LeftLung"),
        ("hippocampus_L", "hippocampus_R"),
        ("lh", "rh"),
    ],
)
def test_partners_are_known_by_their_names(names):
    found = partners_by_name({"labels": {"background": 0, names[0]: 1, names[1]: 2}}, reader="SimpleITKIO")
    assert found is not None and all(f"'{name}'" in found for name in names)
    regions = {"background": 0, "both": [1, 2], names[0]: [1], names[1]: [2]}
    assert partners_by_name({"labels": regions}, reader="SimpleITKIO") == found
    assert partners_by_name({"labels": regions}, reader="InstanceIO") is None


def test_names_without_a_side_are_none():
    labels = {"background": 0, "liver": 1, "L1": 2, "left atrium": 3, "renal": 4}
    assert partners_by_name({"labels": labels}, reader="SimpleITKIO") is None
