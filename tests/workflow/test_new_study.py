"""``maskmed workflow``: a study that is ready to run, or one sentence."""

import json

import pytest
import yaml

from maskmed_nnu.cli.main import main
from maskmed_nnu.workflow.study import read_study
from tests.api.test_training import NAME, write_raw


@pytest.fixture
def raw(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    for name in ("nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    return write_raw(tmp_path / "raw", depth=4)


def test_a_study_is_written_and_the_command_that_runs_it_is_printed(raw, tmp_path, capsys):
    folder = tmp_path / "my study"
    networks = ["--network", "maskmed", "--network", "maskattn-unet"]
    images = ["--images", str(raw / "imagesTr"), "--truth", str(raw / "labelsTr"), "--parts", "7"]
    assert (
        main(["workflow", str(folder), "--dataset", "7", *networks, *images, "--epochs", "5", "--device", "cpu"]) == 0
    )
    printed = capsys.readouterr().out
    assert f"cd '{folder}' && snakemake --profile profiles/local" in printed
    assert f"cd '{folder}' && snakemake --profile profiles/slurm" in printed
    study = read_study(folder)
    assert study.config.dataset == NAME and study.config.folds == [0, 1, 2, 3, 4]
    assert [model.name for model in study.models] == [
        "nnUNetTrainerMaskMed_5epochs__MaskMedPlans__3d_fullres",
        "nnUNetTrainerMaskAttnUNet_5epochs__MaskAttnUNetPlans__2d",
    ]
    assert study.config.predict.parts == 7
    assert study.environment["nnUNet_raw"] == str(raw.parent)
    assert study.environment["nnUNet_results"] == str(folder / "nnUNet_results")
    for profile in ("local", "slurm"):
        settings = yaml.safe_load((folder / "profiles" / profile / "config.yaml").read_text())
        assert settings["executor"] == profile and settings["nolock"] is True
    assert "include: str(SNAKEFILE)" in (folder / "Snakefile").read_text()


def test_as_json_with_what_the_data_set_suggests(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    assert main(["workflow", str(tmp_path / "study"), "-d", NAME, "-f", "1", "--device", "cpu", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["models"] == ["nnUNetTrainerMaskMed__MaskMedPlans__3d_fullres"] and content["folds"] == [1]
    study = read_study(tmp_path / "study")
    assert study.environment["nnUNet_results"] == str(tmp_path / "results")
    assert study.config.predict is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-d", "9"], "there is no Dataset009_"),
        (["-d", "7", "--network", "unknown"], "There is no network 'unknown'"),
        (["-d", "7", "--network", "iaunet"], "has labels of classes, which IAUNet does not support"),
        (["-d", "7", "-f", "5"], "has no fold 5; its folds are 0, 1, 2, 3, 4"),
        (["-d", "7", "--images", "nowhere"], "There is no folder nowhere of images"),
        (["-d", "7", "--truth", "."], "True label maps are given without the images"),
    ],
)
def test_what_there_is_not_is_refused_and_nothing_is_written(raw, tmp_path, capsys, words, said):
    assert main(["workflow", str(tmp_path / "study"), *words, "--device", "cpu"]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_folder_that_holds_something_is_refused(raw, tmp_path, capsys):
    assert main(["workflow", str(raw), "-d", "7", "--device", "cpu"]) == 1
    assert "exists and is not empty; name a new folder" in capsys.readouterr().err
