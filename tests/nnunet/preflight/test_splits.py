"""``splits_final.json`` by hand."""

from __future__ import annotations

import json

import pytest

from maskmed_nnu.nnunet.preflight.splits import split_faults

CASES = ("c0", "c1", "c2", "c3", "c4")
GOOD = {"train": ["c0", "c1", "c2", "c3"], "val": ["c4"]}


def found(folder, splits, fold=0, *, note=False) -> list[str]:
    if splits is not None:
        text = splits if isinstance(splits, str) else json.dumps(splits)
        (folder / "splits_final.json").write_text(text)
    return [fault.sentence for fault in split_faults(folder, CASES, fold) if fault.note == note]


def test_what_is_right(tmp_path):
    assert found(tmp_path, None) == []
    assert found(tmp_path, [GOOD]) == []
    assert found(tmp_path, [{"train": ["c0"], "val": ["c4"], "made by": "hand"}]) == []


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({**GOOD, "train": ["c0", "gone"]}, "names 1 case that is not preprocessed: gone; correct"),
        ({"train": ["c0.png"], "val": ["c4.png"]}, "2 cases .* not preprocessed: c0.png, c4.png; write c0, not c0.png"),
        ({**GOOD, "train": ["c0_0000.nii.gz"]}, "write c0, not c0_0000.nii.gz"),
        ({"train": list(CASES), "val": []}, "has an empty val: no case to validate with"),
        ({"train": [], "val": list(CASES)}, "has an empty train: no case to learn from"),
        ({"train": list(CASES), "validation": ["c4"]}, "has no val, but train, validation; write a list"),
        ({"train": "c0", "val": ["c4"]}, "has a train that is not a list of names"),
        ({"train": [0, 1], "val": ["c4"]}, "has a train that is not a list of names"),
        ([["c0"], ["c4"]], "is a list; write a list with"),
    ],
)
def test_a_fold_with_a_fault(tmp_path, split, expected):
    import re

    sentences = found(tmp_path, [split])
    assert len(sentences) == 1 and re.search(f"splits_final.json: fold 0 {expected}|{expected}", sentences[0])
    assert found(tmp_path, [GOOD, split]) == [] and len(found(tmp_path, [GOOD, split], note=True)) == 1


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (GOOD, "it holds not a list of folds but an object with train, val; write a list"),
        ([], "it holds an empty list"),
        ("null", "not a list of folds but null"),
        ('[{"train"', "is not valid JSON"),
    ],
)
def test_a_file_with_a_fault(tmp_path, splits, expected):
    (sentence,) = found(tmp_path, splits)
    assert expected in sentence


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"train": ["c0", "c0"], "val": ["c4"]}, "fold 0 names 1 case of train more than once: c0"),
        ({"train": list(CASES), "val": ["c4"]}, "fold 0 has 1 case in train and in val, .*: c4"),
    ],
)
def test_what_nnunet_trains_with_is_a_note(tmp_path, split, expected):
    import re

    assert found(tmp_path, [split]) == []
    (note,) = found(tmp_path, [split], note=True)
    assert re.search(expected, note)
    assert found(tmp_path, [GOOD, split], note=True) == []


def test_a_file_that_nnunet_cannot_decode(tmp_path):
    for encoding, expected in (("utf-8-sig", "begins with a byte-order mark"), ("utf-16", "is written in UTF-16")):
        (tmp_path / "splits_final.json").write_text(json.dumps([GOOD]), encoding=encoding)
        (sentence,) = found(tmp_path, None)
        assert f"it {expected}, at which nnU-Net's reader fails; save it as UTF-8 without BOM." in sentence


def test_other_folds_are_one_note(tmp_path):
    gone = {**GOOD, "train": ["gone"]}
    (note,) = found(tmp_path, [GOOD, gone, GOOD, gone, gone], note=True)
    assert "fold 1 names 1 case" in note and "gone; folds 3, 4 cannot be trained either; correct" in note


def test_folds_that_there_are_not(tmp_path):
    """nnU-Net's documentation: a fold beyond the last one is a random split."""
    for splits, fold, there in (
        (None, 5, "are folds 0 to 4"),
        ([GOOD, GOOD], 2, "are folds 0 to 1"),
        ([GOOD], 1, "is only fold 0"),
    ):
        assert found(tmp_path, splits, fold) == []
        (note,) = found(tmp_path, splits, fold, note=True)
        assert note.startswith(f"fold {fold}: there {there}, so nnU-Net trains on a random 80%")
    assert found(tmp_path, [GOOD], -1) == ["fold -1: there is only fold 0; train that, or fold 'all'."]


def test_a_folder_in_which_nnunet_cannot_write_its_folds(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    (fault,) = found(tmp_path, None)
    assert "splits_final.json: it is missing, and nnU-Net has no permission to write" in fault
    assert found(tmp_path, [GOOD]) == []


def test_too_few_cases_for_five_folds(tmp_path):
    (fault,) = split_faults(tmp_path, CASES[:4], 0)
    assert "4 training cases, fewer than nnU-Net's five folds need; train fold 'all'" in fault.sentence
