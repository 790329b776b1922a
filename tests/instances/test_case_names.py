"""Names that nnU-Net, our commands or an operating system keep for themselves are no names of cases."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskmed_nnu.instances.case_names import name_clashes, safe_names, unsafe_name

NFC, NFD = (unicodedata.normalize(form, "Zelle_ü") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nuclei_seg", "ends in _seg"),
        ("NUCLEI_SEG", "ends in _seg"),
        ("", "is empty"),
        (".a", "begins with a dot"),
        ("a ", "begins or ends with a space"),
        ("a.", "begins or ends with a space or a dot"),
        ("CON", "name of a device on Windows"),
        ("lpt1.b", "name of a device on Windows"),
        ("12:30", "holds the character ':'"),
        ("a\nb", r"holds the character '\n'"),
        ("Dataset", "reserved for dataset.json"),
        ("predictions_coco", "reserved for predictions_coco.json"),
        ("a.nii.gz", "ends in .gz"),
        ("a.PNG", "ends in .PNG"),
        ("ü" * 120, "has 240 bytes"),
        ("a\udcff", "not written in UTF-8"),
    ],
)
def test_names_that_break_something_get_a_reason(name, reason):
    assert reason in unsafe_name(name)


@pytest.mark.parametrize("name", ["a", "amos_0001", "my cell 1", "Zelle_ü", "v1.2", "segment", "_a", "(1)", "console"])
def test_other_names_are_left_alone(name):
    assert unsafe_name(name) is None
    assert name_clashes([name, "other"]) == []


@pytest.mark.parametrize(
    ("names", "clause"),
    [
        (["a", "A"], "A and a are the same name on systems that ignore case"),
        ([NFC, NFD], "look the same but are written with different characters"),
        (["a", "a_0001"], "a_0001 could be channel 1 of a"),
        (["A", "a_0001"], "a_0001 could be channel 1 of A"),
    ],
)
def test_names_that_clash(names, clause):
    clashes = name_clashes(names)
    assert [clause in c for c in clashes] == [True]


@given(st.lists(st.text(st.sampled_from("aA_seg01.ü\u0308 :\udcff"), max_size=12), max_size=8, unique=True))
@example(["a b", "a_b_0001"])
@example([NFC, NFD])
@example(["x" * 300, "x" * 301])
def test_safe_names_are_legal_and_differ_in_every_way(names):
    safe = safe_names(names)
    assert len(set(safe)) == len(names)
    assert [unsafe_name(name) for name in safe] == [None] * len(names)
    assert name_clashes(safe) == []


def test_long_names_keep_their_beginning_and_stay_apart():
    one, other = safe_names(["cell_" * 60 + "1", "cell_" * 60 + "2"])
    assert one.startswith("cell_cell_") and one != other and len(one) < 200
