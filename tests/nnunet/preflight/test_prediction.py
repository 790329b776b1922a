"""Before prediction: model, folds, images."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from maskmed_nnu.nnunet.preflight.prediction import Prediction, part_faults, prediction_faults
from tests.nnunet.preflight.data_sets import describe, plans, write_model, write_nifti, write_png


@pytest.fixture
def model(nnunet_env) -> Path:
    return write_model(nnunet_env.results, plans())


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for case in ("a", "b"):
        write_nifti(folder / f"{case}_0000.nii.gz")
    return folder


def found(model: Path, images: Path, *, notes: bool = False, **options) -> str:
    given = {"folds": ("0",), "checkpoint": "checkpoint_final.pth", "device": "cpu", **options}
    output = given.pop("output", str(images.parent / "out" / "below"))
    faults = prediction_faults(Prediction(model, str(images), output, **given))
    return "\n".join(fault.sentence for fault in faults if fault.note == notes)


def test_what_is_right(model, images):
    assert found(model, images) == found(model, images, folds=(0,)) == ""
    assert not (images.parent / "out").exists()


def test_folds(model, images, nnunet_env):
    assert "folds 1, 2, 3, 4 of" in found(model, images, folds=(0, 1, 2, 3, 4))
    assert found(model, images, folds=(0, 1, 2, 3, 4)).endswith("have no checkpoint_final.pth; add -f 0.")
    (model / "fold_0").rename(model / "fold_all")
    assert found(model, images).endswith("has no checkpoint_final.pth; add -f all.")
    assert found(model, images, folds=("fold_all",)).endswith("add -f all.")
    (model / "fold_all" / "checkpoint_final.pth").rename(model / "fold_all" / "checkpoint_best.pth")
    assert "-chk: no fold of" in found(model, images) and found(model, images).endswith("add -chk checkpoint_best.pth.")


def test_a_checkpoint_that_was_cut_off(model, images):
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"PK\3\4 and no more")
    assert found(model, images) == f"{model}/fold_0/checkpoint_final.pth: it is damaged or truncated; " + (
        "copy it again, or take another one with -chk."
    )


def test_a_model_that_there_is_not(model, images):
    other = model.with_name("nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres")
    assert "trained are -tr nnUNetTrainerMaskMed -p MaskMedPlans -c 2d" in found(other, images)
    assert "-m: " in found(other, images, given=True)


@pytest.mark.parametrize("file", ["dataset.json", "plans.json"])
def test_a_model_of_which_a_file_is_missing(model, images, file):
    (model / file).unlink()
    assert f"{file}: it cannot be read" in found(model, images)


def test_a_folder_without_images(model, images):
    assert "-i: " in found(model, images / "none") and "does not exist" in found(model, images / "none")
    assert "is a file; name a folder of images" in found(model, images / "a_0000.nii.gz")
    (images / "empty").mkdir()
    assert "no image ends with _0000.nii.gz; the folder is empty" in found(model, images / "empty")
    write_png(images / "empty" / "x_0000.png")
    assert "1 with .png; convert the images to .nii.gz, the model's ending" in found(model, images / "empty")


def test_images_that_nnunet_would_take_for_others(model, images):
    (images / "._a_0000.nii.gz").write_bytes(b"x")
    write_nifti(images / "c.nii.gz")
    sentences = found(model, images)
    assert "1 hidden file" in sentences and "rename c.nii.gz to c_0000.nii.gz" in sentences


def test_channels(model, images):
    for case in "ab":
        write_nifti(images / f"{case}_0001.nii.gz")
    assert "2 cases with 2 files: a, b; dataset.json declares 1 channel" in found(model, images)
    for case in "ab":
        (images / f"{case}_0001.nii.gz").unlink()
    describe(model, channel_names={"0": "a", "1": "b"})
    assert "2 cases with 1 file: a, b; dataset.json declares 2 channels" in found(model, images)


def test_what_is_wrong_with_some_images_is_a_note_where_the_network_is_ours(model, images):
    """It goes on with the others, which nnU-Net's own networks, trained by a trainer of ours, do not."""
    write_nifti(images / "b_0001.nii.gz")
    write_nifti(images / "c_0001.nii.gz")
    (images / "d_0000.nii.gz").write_bytes(b"no NIfTI")
    (images / "e_0000.nii.gz").touch()
    (images / "f_0000.nii.gz").symlink_to(images / "nothing.nii.gz")
    wrong = (
        "1 file whose header cannot be read: d_0000.nii.gz",
        "1 case with a gap in the channels' numbers: c;",
        "1 case with 2 files: b; dataset.json declares 1 channel",
        "2 unreadable files (empty, or a broken link): e_0000.nii.gz, f_0000.nii.gz; copy them again; the others are",
    )
    assert found(model, images) == "" and all(what in found(model, images, notes=True) for what in wrong)
    (images / "a_0000.nii.gz").rename(images / "a_0001.nii.gz")
    assert "no image ends" not in found(model, images) and all(what[2:60] in found(model, images) for what in wrong[2:])
    (images / "a_0001.nii.gz").rename(images / "a_0000.nii.gz")
    plan = plans()
    plan["configurations"]["2d"]["architecture"]["network_class_name"] = "a.network.of.nnUNet"
    (model / "plans.json").write_text(json.dumps(plan))
    assert all(what[:60] in found(model, images) for what in wrong)


def test_parts():
    def said(*part: int, processes: int = 6) -> list[str]:
        return [fault.sentence for fault in part_faults(*part, processes=processes)]

    assert said(0, 1) == said(2, 3) == said(0, 1, processes=0) == []
    assert said(3, 3) == ["-part_id: there is no part 3 of 3 parts; give a number from 0 to 2."]
    assert said(1, 1) == ["-part_id: there is no part 1 of 1 part; omit it, or add -num_parts."]
    assert "every part would predict all images" in said(0, 3, processes=0)[0]


def test_the_output(model, images):
    assert "-o: " in found(model, images, output=str(images / "a_0000.nii.gz"))
    assert "is not a folder" in found(model, images, output=str(images / "a_0000.nii.gz" / "below"))


def test_no_gpu(model, images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "-device: " in found(model, images, device="cuda")


def test_a_cascade_needs_predictions_of_the_stage_before(model, images, tmp_path):
    model = model.rename(model.with_name("nnUNetTrainerMaskMed__MaskMedPlans__3d_cascade_fullres"))
    assert "-prev_stage_predictions: the model starts from predictions of 3d_lowres" in found(model, images)
    (tmp_path / "lowres").mkdir()
    assert "lacks 2 predictions: a.nii.gz, b" in found(model, images, previous_stage=str(tmp_path / "lowres"))
    write_nifti(tmp_path / "lowres" / "a.nii.gz")
    one_is_left = {"previous_stage": str(tmp_path / "lowres")}
    assert found(model, images, **one_is_left) == ""
    assert "lacks 1 prediction: b.nii.gz" in found(model, images, notes=True, **one_is_left)
    write_nifti(tmp_path / "lowres" / "b.nii.gz")
    assert found(model, images, previous_stage=str(tmp_path / "lowres")) == ""


def test_the_data_set_is_named_instead_of_its_images(model, images):
    for folder in ("imagesTr", "imagesTs"):
        (images.parent / "set" / folder).mkdir(parents=True)
    sentence = found(model, images.parent / "set")
    assert "there are folders: imagesTr, imagesTs; name the folder that holds the images" in sentence


def store(folder: Path, name: str, *, flipped: bool) -> None:
    affine = np.diag([1.0 if flipped else -1.0, -1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), affine), folder / f"{name}_0000.nii.gz")


def mirrored(model: Path, mirroring: object, reader: str = "SimpleITKIO") -> None:
    content = plans() | {"image_reader_writer": reader}
    content["configurations"]["2d"]["mirroring"] = mirroring
    (model / "plans.json").write_text(json.dumps(content))


SWAP = {"axes": [0, 1], "swap": {"1": [[1, 2]]}}


@pytest.fixture
def one_flipped(images) -> Path:
    for i, name in enumerate("abc"):
        store(images, name, flipped=i == 1)
    return images


def test_images_stored_another_way_round_than_those_of_the_training(model, one_flipped):
    mirrored(model, SWAP | {"orientations": {"LAS": 2, "LPS": 20}})
    assert found(model, one_flipped) == (
        "-i: of 3 images 1 is RPS (b_0000.nii.gz); in the training all were LAS or LPS, and the model tells left from "
        f"right; reorient the images first: maskmed convert --reorient LPS --images {one_flipped} --output NEW_FOLDER."
    )
    mirrored(model, SWAP | {"orientations": {"LPS": 20, "RPS": 1}})
    assert found(model, one_flipped) == ""


def test_they_are_noted_where_no_class_has_a_side(model, one_flipped):
    mirrored(model, {"axes": [0, 1], "swap": {}, "orientations": {"LPS": 20}})
    assert found(model, one_flipped) == ""
    given = Prediction(model, str(one_flipped), str(one_flipped.parent / "out"), ("0",), "checkpoint_final.pth", "cpu")
    (note,) = (fault for fault in prediction_faults(given) if fault.note)
    assert "1 is RPS (b_0000.nii.gz)" in note.sentence and "left from right" not in note.sentence


@pytest.mark.parametrize(
    "mirroring", [None, SWAP, SWAP | {"orientations": {"unknown": 3}}, SWAP | {"orientations": None}]
)
def test_plans_that_do_not_tell_orientations_allow_any(model, one_flipped, mirroring):
    mirrored(model, mirroring)
    assert found(model, one_flipped) == ""


def test_a_reader_that_turns_images_takes_any(model, one_flipped):
    mirrored(model, SWAP | {"orientations": {"RAS": 20}}, reader="NibabelIOWithReorient")
    assert found(model, one_flipped) == ""


def test_a_configuration_inherits_the_mirroring(model, one_flipped):
    mirrored(model, SWAP | {"orientations": {"LPS": 20}})
    cascade = model.rename(model.with_name(model.name.replace("2d", "3d_cascade_fullres")))
    assert "1 is RPS" in found(cascade, one_flipped)
    assert "1 is RPS" in found(cascade.rename(cascade.with_name("my kidneys")), one_flipped)
