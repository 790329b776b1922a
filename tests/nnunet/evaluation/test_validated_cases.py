"""Which cases were validated, and where their truth and images are."""

from __future__ import annotations

from maskmed_nnu.json_file import write_json
from maskmed_nnu.nnunet.evaluation.validated_cases import find_validations

DATASET = {"labels": {"background": 0, "a": 1}, "file_ending": ".png", "channel_names": {"0": "x", "1": "y"}}


def test_folds_cases_channels_and_what_is_missing(nnunet_env):
    raw, preprocessed = nnunet_env.raw / "Dataset001_A", nnunet_env.preprocessed / "Dataset001_A"
    model = nnunet_env.results / "Dataset001_A" / "model"
    for file in (
        raw / "imagesTr/one_0000.png",
        raw / "imagesTr/one_0001.png",
        raw / "imagesTr/one_0001_0000.png",  # of the case one_0001
        preprocessed / "gt_segmentations/one.png",
        raw / "labelsTr/one.png",
        raw / "labelsTr/two.png",
        *(model / f"fold_{fold}/validation/{name}.png" for fold, name in (("0", "one"), ("10", "one"), ("10", "two"))),
        model / "fold_2/training_log_2026_1_1_1_1_1.txt",
        model / "fold_all/validation/one.png",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    write_json(preprocessed / "splits_final.json", [{"train": [], "val": ["one", "three"]}])
    found = find_validations(model, "Dataset001_A", DATASET)

    assert [(case.key, case.fold) for case in found.cases] == [
        ("one (fold 0)", "0"), ("one (fold 10)", "10"), ("two", "10"),
    ]  # fmt: skip
    first, _, last = found.cases
    assert [image.name for image in first.images] == ["one_0000.png", "one_0001.png"] and last.images == ()
    assert first.truth == preprocessed / "gt_segmentations/one.png" and last.truth == raw / "labelsTr/two.png"
    assert found.missing == (("three", "0"),)
    assert [note.split(",")[0] for note in found.notes] == [
        "Fold 2 has no predictions of a final validation",
        "1 case (two) have no image any more.",
    ]


def test_images_that_dataset_json_lists(nnunet_env, tmp_path):
    raw, model = nnunet_env.raw / "Dataset001_A", tmp_path / "model"
    for file in (model / "fold_all/validation/c.png", tmp_path / "elsewhere.png"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    raw.mkdir()
    write_json(raw / "dataset.json", {"dataset": {"c": {"images": [str(tmp_path / "elsewhere.png")], "label": "x"}}})
    found = find_validations(model, "Dataset001_A", DATASET)
    assert found.cases[0].images == (tmp_path / "elsewhere.png",) and found.cases[0].truth is None
    assert found.notes[0].startswith("The only fold is all, which was validated on its training cases")
    assert "true label maps of Dataset001_A are in neither" in found.notes[1]


def test_without_nnunets_folders_the_note_says_which_are_not_set(tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "fold_0/validation").mkdir(parents=True)
    (tmp_path / "fold_0/validation/c.png").touch()
    notes = find_validations(tmp_path, "Dataset001_A", DATASET).notes
    assert all("(nnUNet_raw and nnUNet_preprocessed are not set)" in note for note in notes) and len(notes) == 2
