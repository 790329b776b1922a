from __future__ import annotations

import sys

import numpy as np
import pytest
import wrong_side

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.files import write_ids

TRUTH = np.array([[1, 1, 2, 2, 3, 0], [4, 4, 4, 3, 3, 0]])
PREDICTION = np.array([[2, 1, 2, 1, 4, 1], [4, 3, 1, 4, 0, 2]])


def test_only_what_goes_to_the_partner_is_on_the_wrong_side():
    assert wrong_side.count_wrong_side(TRUTH, PREDICTION, [(1, 2), (3, 4)]) == {(1, 2): (2, 4), (3, 4): (3, 6)}
    assert wrong_side.count_wrong_side(TRUTH, PREDICTION, [(2, 1)]) == {(2, 1): (2, 4)}
    assert wrong_side.count_wrong_side(TRUTH, TRUTH, [(1, 2)]) == {(1, 2): (0, 4)}


def test_exchanged_partners_are_all_on_the_wrong_side():
    exchanged = np.array([0, 2, 1, 4, 3])[TRUTH]
    assert wrong_side.count_wrong_side(TRUTH, exchanged, [(1, 2), (3, 4)]) == {(1, 2): (4, 4), (3, 4): (6, 6)}


@pytest.fixture
def folders(tmp_path):
    for folder, arrays in (("truth", (TRUTH, TRUTH)), ("prediction", (PREDICTION, TRUTH))):
        (tmp_path / folder).mkdir()
        for case, array in zip("ab", arrays, strict=True):
            write_ids(tmp_path / folder / f"{case}.nii.gz", array[None, None].astype(np.uint8))
    return tmp_path / "truth", tmp_path / "prediction"


def run(folders, *partners):
    sys.argv[:] = ["wrong_side.py", *map(str, folders), "--partners", *partners]
    wrong_side.main()


@pytest.fixture(autouse=True)
def arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", [])


def test_two_folders_give_a_table(folders, capsys):
    run(folders, "1,2", "3,4")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| case | 1, 2 | 3, 4 | wrong side | true voxels | share |"
    assert lines[2:] == [
        "| a | 2 | 3 | 5 | 10 | 0.5000 |",
        "| b | 0 | 0 | 0 | 10 | 0.0000 |",
        "| all | 2 | 3 | 5 | 20 | 0.2500 |",
    ]


def test_the_record_sums_over_pairs_and_cases(folders):
    counts = wrong_side.count_in_folders(*folders, [(1, 2), (3, 4)], ending=".nii.gz")
    assert wrong_side.summary(counts) == {"voxels": 5, "share": 0.25, "voxels_per_case": {"a": 5, "b": 0}}


@pytest.mark.parametrize(
    ("partners", "words"),
    [
        (["1"], "is not a pair; write two labels"),
        (["1,2", "2,3"], "label 2 more than once"),
        (["3,3"], "label 3"),
        (["1,7"], "has the label 7"),
    ],
)
def test_partners_that_cannot_be_are_one_sentence(folders, partners, words):
    with pytest.raises(SystemExit, match=words):
        run(folders, *partners)


def test_another_size_or_a_missing_prediction_is_one_sentence(folders):
    write_ids(folders[1] / "b.nii.gz", TRUTH[None, None, :, :4].astype(np.uint8))
    with pytest.raises(InputError, match="both must be one grid"):
        wrong_side.count_in_folders(*folders, [(1, 2)], ending=".nii.gz")
    (folders[1] / "b.nii.gz").unlink()
    with pytest.raises(SystemExit, match="lacks the predictions of 1 case"):
        run(folders, "1,2")
