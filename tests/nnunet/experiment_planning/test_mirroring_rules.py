"""From label files of a raw data set to axes of the patch and pairs of labels."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import add_mirroring, find_mirroring, say, section_for
from tests.nnunet.sided_bodies import BRIGHTNESS, LABELS, NAME, body, write_bodies


@pytest.mark.parametrize(
    ("code", "transpose", "expected"),
    [  # the configuration of volumes, and that of slices
        ("LPS", [0, 1, 2], ({"2": [[1, 2]]}, {"1": [[1, 2]]})),
        ("RAS", [0, 1, 2], ({"2": [[1, 2]]}, {"1": [[1, 2]]})),
        ("LPS", [2, 0, 1], ({"0": [[1, 2]]}, {})),
        ("LPS", [1, 0, 2], ({"2": [[1, 2]]}, {"1": [[1, 2]]})),
        ("PSR", [0, 1, 2], ({"0": [[1, 2]]}, {})),
        ("PSR", [2, 0, 1], ({"1": [[1, 2]]}, {"0": [[1, 2]]})),
        ("SLA", [0, 1, 2], ({"1": [[1, 2]]}, {"0": [[1, 2]]})),
        ("SLA", [1, 0, 2], ({"0": [[1, 2]]}, {})),
    ],
)
def test_the_axis_of_the_patch(nnunet_env, code, transpose, expected):
    found = find_mirroring(NAME, write_bodies(nnunet_env.raw, [code] * 12))
    for dimension, swap in zip((3, 2), expected, strict=True):
        section = section_for(found, transpose, dimension)
        assert section["swap"] == swap and section["axes"] == list(range(dimension))
        assert section["orientations"] == {code: 12}


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_volumes(nnunet_env, ending):
    found = find_mirroring(NAME, write_bodies(nnunet_env.raw, ["LPS"] * 12, ending=ending))
    assert section_for(found, [0, 1, 2], 3)["swap"] == {"2": [[1, 2]]}


def test_a_reader_that_turns_the_files(nnunet_env):
    codes = ["LPS", "RAS", "PSR"] * 4
    described = write_bodies(nnunet_env.raw, codes, overwrite_image_reader_writer="NibabelIOWithReorient")
    section = section_for(find_mirroring(NAME, described), [0, 1, 2], 3)
    assert section["swap"] == {"2": [[1, 2]]} and section["orientations"] == {"RAS": 12}


def test_partners_on_both_sides_of_the_arrays_are_refused(nnunet_env):
    described = write_bodies(nnunet_env.raw, [*["LPS"] * 11, "RPS"])
    with pytest.raises(InputError, match="1 is RPS .* but one and other are distinguished by their place"):
        find_mirroring(NAME, described)


def test_without_partners_mixed_orientations_are_mirrored(nnunet_env):
    described = write_bodies(
        nnunet_env.raw, ["LPS", "PSR"] * 6, relabel={2: 1, 3: 2}, labels={"background": 0, "both": 1, "middle": 2}
    )
    section = section_for(find_mirroring(NAME, described), [0, 1, 2], 3)
    assert section["axes"] == [0, 1, 2] and section["swap"] == {}


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "one": [1], "other": [2], "middle": [3]},
        {"background": 0, "all": [1, 2, 3], "one": 1, "other": 2},
        {"background": 0, "right and middle": [1, 3], "middle and left": [2, 3]},
    ],
    ids=["lists", "regions", "regions only"],
)
def test_labels_in_lists_and_regions(nnunet_env, labels):
    found = find_mirroring(NAME, write_bodies(nnunet_env.raw, ["LPS"] * 12, labels=labels))
    assert section_for(found, [0, 1, 2], 3)["swap"] == {"2": [[1, 2]]}


def test_an_ignore_label_has_no_place(nnunet_env):
    labels = {"background": 0, "one": 1, "other": 2, "ignore": 3}
    found = find_mirroring(NAME, write_bodies(nnunet_env.raw, ["LPS"] * 12, labels=labels))
    assert section_for(found, [0, 1, 2], 3)["swap"] == {"2": [[1, 2]]}


def test_labels_that_nobody_declared_are_no_partners(nnunet_env):
    described = write_bodies(nnunet_env.raw, ["LPS"] * 12, labels={"background": 0, "one": 1, "middle": 3})
    section = section_for(find_mirroring(NAME, described), [0, 1, 2], 3)
    assert (section["axes"], section["swap"]) == ([0, 1, 2], {})


def test_one_class_is_mirrored_everywhere(nnunet_env):
    described = write_bodies(nnunet_env.raw, ["LPS"] * 2, relabel={2: 1, 3: 1}, labels={"background": 0, "all": 1})
    found = find_mirroring(NAME, described)
    assert section_for(found, [0, 1, 2], 3)["axes"] == [0, 1, 2]
    assert list(say(found))[1:] == ["  One class cannot be confused with another."]


def test_no_labelled_voxel(nnunet_env):
    found = find_mirroring(NAME, write_bodies(nnunet_env.raw, ["LPS"] * 2, relabel={1: 0, 2: 0, 3: 0}))
    section = section_for(found, [0, 1, 2], 3)
    assert section["axes"] == [0, 1, 2] and section["swap"] == {}
    assert any("no case has a labelled voxel" in line.lower() for line in say(found))


def test_slices_of_one_image_each(nnunet_env):
    """Pictures, which do not say how they lie: x is the horizontal axis."""
    rng = np.random.default_rng(0)
    folder = nnunet_env.raw / NAME
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for i in range(12):
        labels = body(rng, flat=True)[..., 0].T
        Image.fromarray(BRIGHTNESS[labels]).save(folder / "imagesTr" / f"c{i:02d}_0000.png")
        Image.fromarray(labels).save(folder / "labelsTr" / f"c{i:02d}.png")
    described = {"channel_names": {"0": "X"}, "labels": LABELS, "numTraining": 12, "file_ending": ".png"}
    section = section_for(find_mirroring(NAME, described), [0, 1, 2], 2)
    assert section["axes"] == [0, 1] and section["swap"] == {"1": [[1, 2]]}
    assert section["orientations"] == {"unknown": 12}


def test_files_listed_in_dataset_json(nnunet_env):
    described = write_bodies(nnunet_env.raw, ["LPS"] * 12)
    folder = nnunet_env.raw / NAME
    (folder / "imagesTr").rename(folder / "scans")
    listed = {
        f"c{i:02d}": {"images": [f"scans/c{i:02d}_0000.nii.gz"], "label": f"labelsTr/c{i:02d}.nii.gz"}
        for i in range(12)
    }
    described["dataset"] = listed
    before = json.dumps(described)
    assert section_for(find_mirroring(NAME, described), [0, 1, 2], 3)["swap"] == {"2": [[1, 2]]}
    assert json.dumps(described) == before, "plans and models keep what the user wrote"


def test_labels_that_preprocessing_has_copied(nnunet_env):
    described = write_bodies(nnunet_env.raw, ["LPS"] * 12)
    copied = nnunet_env.preprocessed / NAME / "gt_segmentations"
    shutil.copytree(nnunet_env.raw / NAME / "labelsTr", copied)
    before = find_mirroring(NAME, described, labels=copied)
    shutil.rmtree(nnunet_env.raw / NAME)
    after = find_mirroring(NAME, described, labels=copied)
    assert all(section_for(found, [0, 1, 2], 3)["swap"] == {"2": [[1, 2]]} for found in (before, after))
    bright = "  The raw images are missing, so the brightness of partners was not compared."
    assert bright in say(after) and bright not in say(before)


def test_plans_made_without_label_files_say_nothing(nnunet_env, capsys):
    plans = {"transpose_forward": [0, 1, 2], "configurations": {"2d": {"patch_size": [8, 8]}}}
    add_mirroring(plans, NAME, {"labels": LABELS, "file_ending": ".nii.gz"})
    assert plans["configurations"] == {"2d": {"patch_size": [8, 8]}}
    assert "no label files of training cases, so every axis is mirrored" in capsys.readouterr().out
