"""Label values of any type come out as they were put in, or are refused: nothing wraps, and nothing is rounded."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.convert import convert
from maskmed_nnu.instances.conversion.sources import LabelMapSource, SemanticSource
from maskmed_nnu.instances.files import read_ids, write_ids
from maskmed_nnu.instances.label_values import MAX_ID, cast, whole_numbers
from tests.instances.conversion.source_files import labels, picture, save

INTEGERS = [np.dtype(f"{kind}{size}") for kind in "ui" for size in (1, 2, 4, 8)]
KINDS = [*INTEGERS, *(np.dtype(f"f{size}") for size in (2, 4, 8)), np.dtype(bool), np.dtype(">u2"), np.dtype(">i4")]
NEAR = [0, 1, 2, 255, 256, 2**11, 2**15, 2**16, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63]


def near_the_limits(kind: np.dtype) -> st.SearchStrategy:
    """Values of a type, most of them where types end."""
    if kind.kind == "b":
        return st.booleans()
    if kind.kind == "f":
        largest = float(np.finfo(kind).max)
        numbers = [n for n in NEAR if n <= largest]
        width = 8 * kind.itemsize
        return st.sampled_from([*numbers, -1, 0.5, np.nan, np.inf]) | st.floats(width=width)
    limits = np.iinfo(kind)
    legal = [n for value in NEAR for n in (value, -value) if limits.min <= n <= limits.max]
    return st.sampled_from([*legal, int(limits.min), int(limits.max)]) | st.integers(int(limits.min), int(limits.max))


@st.composite
def label_maps(draw: st.DrawFn) -> np.ndarray:
    kind = draw(st.sampled_from(KINDS))
    return draw(hnp.arrays(kind, (4, 5), elements=near_the_limits(kind), fill=st.just(kind.type(0))))


def as_python(values: np.ndarray) -> list:
    return [value if isinstance(value, float) else int(value) for value in values.ravel().tolist()]


def is_whole(value: float) -> bool:
    return value == value and abs(value) != np.inf and value == int(value)


def is_label(value: float) -> bool:
    return is_whole(value) and 0 <= value <= MAX_ID


@settings(max_examples=400, deadline=None)
@given(values=label_maps(), kind=st.sampled_from([*INTEGERS, np.dtype("f4")]))
def test_a_cast_changes_no_value(values: np.ndarray, kind: np.dtype) -> None:
    try:
        result = cast(values, kind.type)
    except InputError:
        low, high = cast_range(kind)
        fits = [is_whole(value) and low <= value <= high for value in as_python(values)]
        assert not all(fits)
    else:
        assert result.dtype == kind
        assert as_python(result) == as_python(values)


def cast_range(kind: np.dtype) -> tuple[int, int]:
    return (-(2**24), 2**24) if kind.kind == "f" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))


@settings(max_examples=400, deadline=None)
@given(values=label_maps())
def test_values_of_files_are_labels_or_refused(values: np.ndarray) -> None:
    told = as_python(values)
    exact = 2 ** (np.finfo(values.dtype).nmant + 1) if values.dtype.kind == "f" else MAX_ID + 1
    legal = all(is_label(value) and value < exact for value in told)
    try:
        result = whole_numbers(values, "x.tif")
    except InputError as error:
        assert not legal and str(error).startswith("x.tif: ")
    else:
        assert legal and as_python(result) == told


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.0000001, "holds 1.0000001; .*round them"), (0.25, "holds 0.25; .*before they were resampled")],
)
def test_fractions_are_shown_in_full_with_their_cure(value: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        whole_numbers(np.array([0, value], np.float32), "x.nii.gz")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=label_maps())
def test_label_files_of_any_type_are_read_as_they_are(tmp_path, values: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack")
    try:
        back = read_ids(tmp_path / "x.tif", overlap_layers=False)[0]
    except InputError as error:
        assert "x.tif: The mask holds" in str(error)
        return
    assert as_python(back) == as_python(values)
    write_ids(tmp_path / "y.tif", back[None])
    assert as_python(read_ids(tmp_path / "y.tif", overlap_layers=False)) == as_python(values)


@pytest.mark.parametrize("kind", ["u4", "u8", "i8", "f8"])
@pytest.mark.parametrize("void", [255, 2**16, 2**31, 2**32 - 1])
def test_a_void_of_any_size_is_a_value_of_its_own(tmp_path, kind: str, void: int) -> None:
    mask = np.zeros((10, 12), kind)
    mask[:3], mask[5:8, 2:6] = void, 1
    save(tmp_path / "images" / "a.png", picture(shape=mask.shape))
    save(tmp_path / "masks" / "a.tif", mask)
    lines = convert(SemanticSource(tmp_path / "images", tmp_path / "masks"), tmp_path / "Dataset001_A").lines
    assert f"labels     1 → 1 class_1, {void} → 2 class_{void}" in lines
    np.testing.assert_array_equal(labels(tmp_path / "Dataset001_A", "a"), np.searchsorted([0, 1, void], mask))
    convert(LabelMapSource(tmp_path / "images", tmp_path / "masks", "cell"), tmp_path / "Dataset002_B")
    objects = labels(tmp_path / "Dataset002_B", "a")
    assert [np.count_nonzero(objects == value) for value in np.unique(objects)] == [72, 12, 36]


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("i2", -1, "a.tif: The mask holds the negative value -1"),
        ("u8", 2**32, "a.tif: The mask holds the id 4294967296; ids must fit in 32 bits"),
        ("u8", 2**64 - 1, "a.tif: The mask holds the id 18446744073709551615"),
        ("f2", 2**11, "a.tif: The mask holds 2048 in float16, which tells ids apart only below 2048"),
        ("f4", np.nan, "a.tif: The mask holds nan"),
    ],
)
@pytest.mark.parametrize("semantic", [False, True])
def test_values_that_do_not_fit_are_refused_with_their_file(tmp_path, kind, value, sentence, semantic) -> None:
    mask = np.ones((10, 12), kind)
    mask[:3] = value
    save(tmp_path / "images" / "a.png", picture(shape=mask.shape))
    save(tmp_path / "masks" / "a.tif", mask)
    folders = tmp_path / "images", tmp_path / "masks"
    source = SemanticSource(*folders) if semantic else LabelMapSource(*folders, "cell")
    with pytest.raises(InputError, match=sentence):
        convert(source, tmp_path / "Dataset001_A")
