"""Planning and the integrity check look at the orientation of every training image."""

from __future__ import annotations

import json
import types
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning.data_set_grids import check_grids, training_codes
from maskmed_nnu.nnunet.experiment_planning.verify_dataset_integrity import wrap_verification
from maskmed_nnu.nnunet.preprocessing.orientation_checks import tell_once

SIDES = {"background": 0, "kidney_left": 1, "kidney_right": 2}
NO_SIDES = {"background": 0, "liver": 1}


@pytest.fixture(autouse=True)
def nothing_told():
    tell_once.cache_clear()


def write(path: Path, *, flipped: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((4, 5, 6), np.uint8)
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0 if flipped else -1.0, 1, 1, 1])), path)
    else:
        image = sitk.GetImageFromArray(values)
        image.SetDirection((-1.0 if flipped else 1.0, 0, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(path))


def data_set(raw: Path, labels: dict, *, ending: str = ".nii.gz", mixed: bool = True, **more: object) -> Path:
    folder = raw / "Dataset005_G"
    for i, name in enumerate("abcd"):
        write(folder / "imagesTr" / f"{name}_0000{ending}", flipped=mixed and i == 1)
        write(folder / "labelsTr" / f"{name}{ending}", flipped=mixed and i == 1)
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 4, "file_ending": ending, **more}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def verify(folder: Path) -> list[str]:
    """The integrity check of a data set, and for which folders nnU-Net's own was called."""
    called: list[str] = []
    module = types.SimpleNamespace(verify_dataset_integrity=lambda folder, num_processes=8: called.append(folder))
    wrap_verification(module)
    module.verify_dataset_integrity(str(folder), 1)
    return called


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_mixed_sides_are_refused_where_names_tell_left_from_right(nnunet_env, ending):
    folder = data_set(nnunet_env.raw, SIDES, ending=ending)
    names = ["LAS", "RAS"] if ending == ".nii.gz" else ["LPS", "RPS"]
    for check in (lambda: check_grids(5), lambda: verify(folder)):
        with pytest.raises(InputError) as error:
            check()
        for part in ("Dataset005_G", f"3 are {names[0]} (a_0000", f"1 is {names[1]} (b_0000", "kidney_left"):
            assert part in str(error.value)


def test_without_sides_a_note_is_printed_once(nnunet_env, capsys):
    folder = data_set(nnunet_env.raw, NO_SIDES)
    check_grids(5)
    assert verify(folder) == [str(folder)]
    printed = capsys.readouterr().out
    assert printed.count("Note: The images of Dataset005_G are not all stored in the same orientation") == 1


def test_one_way_round_is_said_nothing_of(nnunet_env, capsys):
    folder = data_set(nnunet_env.raw, SIDES, mixed=False)
    check_grids(5)
    assert verify(folder) == [str(folder)]
    assert capsys.readouterr().out == ""


def test_a_reader_that_turns_images_takes_mixed_ones(nnunet_env, capsys):
    folder = data_set(nnunet_env.raw, SIDES, overwrite_image_reader_writer="NibabelIOWithReorient")
    check_grids(5)
    verify(folder)
    assert capsys.readouterr().out == ""
    description = json.loads((folder / "dataset.json").read_text())
    codes, reader = training_codes(folder, description)
    assert reader == "NibabelIOWithReorient" and set(codes.values()) == {"RAS"} and len(codes) == 4


def test_nibabels_other_reader_does_not(nnunet_env):
    data_set(nnunet_env.raw, SIDES, overwrite_image_reader_writer="NibabelIO")
    with pytest.raises(InputError, match="NibabelIO takes them as they are"):
        check_grids(5)


def test_a_reader_of_the_users_own_may_turn_images(nnunet_env, capsys, monkeypatch):
    module = "maskmed_nnu.nnunet.experiment_planning.data_set_grids.determine_reader_writer_from_dataset_json"
    monkeypatch.setattr(module, lambda *_, **__: type("ClinicsIO", (), {}))
    folder = data_set(nnunet_env.raw, SIDES)
    check_grids(5)
    assert verify(folder) == [str(folder)]
    assert capsys.readouterr().out == ""


def test_objects_are_warned_of_at_most(nnunet_env, capsys):
    folder = data_set(nnunet_env.raw, SIDES, overwrite_image_reader_writer="InstanceIO")
    check_grids(5)
    assert "not all stored in the same orientation" in capsys.readouterr().out
    assert training_codes(folder, json.loads((folder / "dataset.json").read_text()))[1] == "InstanceIO"


def test_regions_have_sides_too(nnunet_env):
    regions = {"background": 0, "kidneys": [1, 2], "kidney_left": 1, "kidney_right": 2}
    data_set(nnunet_env.raw, regions, regions_class_order=[1, 2, 3])
    with pytest.raises(InputError, match="kidney_left"):
        check_grids(5)


def test_cases_that_dataset_json_lists(nnunet_env):
    folder = data_set(nnunet_env.raw, SIDES)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).rename(folder / f"my_{part}")
    content = json.loads((folder / "dataset.json").read_text())
    content["dataset"] = {
        name: {"images": [f"my_imagesTr/{name}_0000.nii.gz"], "label": f"my_labelsTr/{name}.nii.gz"} for name in "abcd"
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    for check in (lambda: check_grids(5), lambda: verify(folder)):
        with pytest.raises(InputError, match=r"1 is RAS \(b_0000.nii.gz\)"):
            check()
    before = json.dumps(content)
    training_codes(folder, content)
    assert json.dumps(content) == before  # nnU-Net writes absolute paths into its copy


def test_what_nnunet_will_refuse_is_left_to_it(nnunet_env):
    folder = data_set(nnunet_env.raw, SIDES)
    for path in (folder / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace("_0000", "")))
    assert verify(folder) == [str(folder)]
    (folder / "dataset.json").write_text("{}")
    assert verify(folder) == [str(folder)]
