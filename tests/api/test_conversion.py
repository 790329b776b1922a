"""`mm.convert`: the same as the command, as an object, with sentences that name no options."""

from __future__ import annotations

import doctest
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import maskmed_nnu as mm
from maskmed_nnu.api import conversion


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index in range(3):
        ids = np.zeros((40, 50), np.uint8)
        ids[4:14, 4:14], ids[20:30, 20 + index : 34] = 1, 2
        for part, values in (("images", ids * 60 + 20), ("masks", ids)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / part / f"cells_{index}.png")
    return tmp_path


def test_label_maps(pictures: Path) -> None:
    calls: list[mm.Progress] = []
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        done = mm.convert(
            str(pictures / "images"),
            pictures / "masks",
            id=7,
            name="Cells",
            test=1,
            output=pictures / "raw",
            progress=calls.append,
        )
    assert not out.getvalue() and not err.getvalue()
    assert done.folder == pictures / "raw" / "Dataset007_Cells" and (done.folder / "dataset.json").is_file()
    assert (done.cases, done.test_cases) == (["cells_0", "cells_1"], ["cells_2"])
    assert any("6 (1 object: 6)" in line for line in done.notes) and not done.warnings
    assert done.next_commands[0].startswith("export nnUNet_raw=") and "-d 7" in done.next_commands[-1]
    assert calls[0] == ("reading", 0, 3, "") and calls[-1] == ("writing", 3, 3, "")


def test_classes_in_the_masks(pictures: Path) -> None:
    given = {"semantic": True, "classes": ["tumour", "edema"], "id": 7, "name": "A", "output": pictures / "raw"}
    done = mm.convert(pictures / "images", pictures / "masks", **given)
    assert "nnUNetTrainerMaskMed" in done.next_commands[-1]


def test_volumes_are_turned(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "in" / "a.nii.gz")
    done = mm.convert(tmp_path / "in", reorient="lps", output=tmp_path / "out")
    turned = nibabel.load(done.folder / "a.nii.gz")
    assert "".join(nibabel.aff2axcodes(turned.affine)) == "LPS" and not done.next_commands


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs both id and name; give both"),
        ({"id": 0, "name": "A"}, "id 0 is not a number"),
        ({"id": "7", "name": "A"}, "id 7 is not a number"),
        ({"id": 7, "name": "a b"}, "name 'a b' is not a name"),
        ({"id": 7, "name": "A"}, "There is no source to convert; give coco and images"),
        ({"id": 7, "name": "A", "images": "images", "axes": "TYX"}, "'TYX' does not name the axes"),
        (
            {"id": 7, "name": "A", "images": "images", "coco": "a.json", "masks": "masks"},
            "coco and images and masks is not a source",
        ),
        ({"id": 7, "name": "A", "images": "images", "masks": "masks", "test": 3}, "test is 3 of 3 cases"),
        ({"id": 7, "name": "A", "images": "images", "masks": "masks", "classes": ["a", "b"]}, "classes names 2"),
        ({"id": 7, "name": "A", "images": "images", "masks": "empty"}, "No image has an object"),
        ({"id": 7, "name": "A", "images": "images", "masks": "images/none"}, "is not a folder"),
        ({"id": 7, "name": "A", "images": "images", "masks": "empty", "semantic": True}, "hold only 0"),
        (
            {"id": 7, "name": "A", "images": "images", "masks": "masks", "min_volume": 3},
            "min_volume applies to components only",
        ),
        (
            {"id": 7, "name": "A", "dsb": "images", "connectivity": 1},
            "connectivity applies to components only; give components",
        ),
        ({"id": 7, "name": "A", "images": "images", "components": True, "connectivity": 6}, "must be 1, 2 or 3"),
        ({"id": 7, "name": "A", "images": "images", "components": True, "min_volume": -1}, "min_volume is -1; it must"),
        ({"id": 7, "name": "A", "images": "images", "components": True, "split_pieces": True}, "leave split_pieces"),
        ({"id": 7, "name": "A", "dsb": "images", "spacing": [1, 2, 3]}, "dsb has flat images; leave it out"),
        ({"id": 7, "name": "A", "images": "images", "masks": "masks", "spacing": [1, 2]}, "spacing is 1 2; give three"),
        ({"id": 7, "name": "A", "ctc": "images"}, "holds no sequence 01"),
        ({"reorient": "RAS", "images": "images", "spacing": [1, 1, 1]}, "spacing cannot be combined with reorient"),
        ({"reorient": "XYZ", "images": "images"}, "'XYZ' is not an orientation"),
        ({"reorient": "RAS", "images": "images", "id": 7, "test": 1}, "id, test cannot be combined with reorient"),
        ({"reorient": "RAS"}, "reorient copies a folder"),
    ],
)
def test_what_cannot_be_converted(pictures: Path, given: dict, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "empty").mkdir()
    for index in range(3):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(pictures / "empty" / f"cells_{index}.png")
    monkeypatch.chdir(pictures)
    output = {} if given.keys() == {"reorient"} else {"output": "raw"}
    with pytest.raises(mm.InputError, match=said) as caught:
        mm.convert(**given, **output)
    sentence = str(caught.value)
    assert "--" not in sentence and "\n" not in sentence and sentence.endswith(".")
    assert not list(pictures.glob("raw/Dataset*"))


def test_the_example() -> None:
    assert doctest.testmod(conversion).failed == 0 and doctest.testmod(conversion).attempted > 5
