"""The report of a training: one page that stands alone and tells what is there and what is not."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import nibabel
import numpy as np
import pytest
from PIL import Image

import maskmed_nnu as mm
from maskmed_nnu.cli.main import main
from maskmed_nnu.instances.instance_map import LabelFormat, decode
from maskmed_nnu.instances.statistics import measure, summarise
from maskmed_nnu.json_file import write_json

LOG = """
2026-11-28 19:26:34.1: Epoch {0} \n2026-11-28 19:26:48.3: train_loss 0.{0}\n2026-11-28 19:26:48.3: val_loss -0.{0}
2026-11-28 19:26:48.3: Pseudo dice [np.float32(0.5)]\n2026-11-28 19:26:48.3: Epoch time: 13.97 s
"""
CLASSES = {
    "labels": {"background": 0, "<liver>": 1, "spleen": 2},
    "channel_names": {"0": "CT"},
    "file_ending": ".nii.gz",
    "numTraining": 5,
}
OBJECTS = {
    "labels": {"background": 0, "cell": 1},
    "channel_names": {"0": "grey"},
    "file_ending": ".png",
    "numTraining": 4,
    "overwrite_image_reader_writer": "InstanceIO",
}


def plans(dimension: int, *, objects: bool) -> dict:
    return {
        "dataset_name": "Dataset001_A",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "InstanceIO" if objects else "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner\udce9",  # as Python reads a file's name that is not UTF-8
        "configurations": {
            "2d" if dimension == 2 else "3d_fullres": {
                "patch_size": [16] * dimension,
                "batch_size": 2,
                "spacing": [1.0] * dimension,
                "architecture": {"network_class_name": "somewhere.PlainConvUNet", "arch_kwargs": {"n_stages": 3}},
            }
        },
        **({"label_manager": "InstanceLabelManager"} if objects else {}),
    }


def training(nnunet_env, *, dimension: int, objects: bool = False):
    configuration = "2d" if dimension == 2 else "3d_fullres"
    model = nnunet_env.results / "Dataset001_A" / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    for fold in ("0", "1"):
        (model / f"fold_{fold}" / "validation").mkdir(parents=True)
        (model / f"fold_{fold}" / "training_log_2026_1_1_1_1_1.txt").write_text("".join(map(LOG.format, range(1, 4))))
    write_json(model / "plans.json", plans(dimension, objects=objects))
    write_json(model / "dataset.json", OBJECTS if objects else CLASSES)
    for name in ("imagesTr", "labelsTr"):
        (nnunet_env.raw / "Dataset001_A" / name).mkdir(parents=True)
    return model, nnunet_env.raw / "Dataset001_A"


@pytest.fixture
def organs(nnunet_env):
    """Three cases in two folds: perfect, half found, and one of a missed and an invented class."""
    model, raw = training(nnunet_env, dimension=3)
    liver, both, spleen, half = np.zeros((4, 12, 14, 10), np.uint8)
    liver[2:6, 2:6, 2:6] = both[2:6, 2:6, 2:6] = 1
    spleen[8:11, 8:11, 4:8] = both[8:11, 8:11, 4:8] = 2
    half[2:6, 2:6, 2:4], half[8:11, 8:11, 4:6] = 1, 2
    rng = np.random.default_rng(0)
    for name, fold, truth, found in (
        ("best", "0", both, both), ("middle", "0", both, half), ("worst", "1", liver, spleen),
    ):  # fmt: skip
        for place, values in (
            (raw / f"imagesTr/{name}_0000.nii.gz", (rng.random(truth.shape) + truth).astype(np.float32)),
            (raw / f"labelsTr/{name}.nii.gz", truth),
            (model / f"fold_{fold}/validation/{name}.nii.gz", found),
        ):
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), place)
    return model, raw


@pytest.fixture
def cells(nnunet_env):
    """Two pictures: one found, one with an object missed and another invented."""
    model, raw = training(nnunet_env, dimension=2, objects=True)
    truth, wrong = np.zeros((2, 40, 50), np.uint8)
    truth[2:12, 2:12], truth[20:30, 20:32] = 1, 2
    wrong[2:12, 2:12], wrong[20:30, 40:48] = 5, 9
    for name, fold, found in (("good", "0", truth), ("bad", "1", wrong)):
        Image.fromarray(truth * 90 + 20).save(raw / f"imagesTr/{name}_0000.png")
        Image.fromarray(truth).save(raw / f"labelsTr/{name}.png")
        Image.fromarray(found).save(model / f"fold_{fold}/validation/{name}.png")
    return model, raw


class Page(HTMLParser):
    """Counts tags, and keeps addresses and the texts of tables."""

    def __init__(self, path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data):
        if self._open and self._open[-1] in ("td", "th") and data.strip():
            self.cells.append(data)

    def count(self, tag: str, **wanted: str) -> int:
        return sum(t == tag and all(a.get(k) == v for k, v in wanted.items()) for t, a in self.tags)


def check_stands_alone(page: Page) -> None:
    addresses = [a.get(k) for _, a in page.tags for k in ("src", "href") if a.get(k)]
    assert addresses and all(one.startswith(("data:", "#")) for one in addresses)
    assert not re.search(r"https?://|@import|url\(", page.text)
    assert all(a.get("alt") for t, a in page.tags if t == "img")
    assert page.count("svg", role="img") == page.text.count("</desc>") > 0
    assert page.text.count("<details>") >= page.count("svg", role="img")


def test_a_report_of_classes(organs, tmp_path):
    model, _ = organs
    told: list[str] = []
    written = mm.report(model, tmp_path / "page.html", progress=lambda now: told.append(now.stage))
    page = Page(written.path)

    check_stands_alone(page)
    assert (written.cases, written.folds, written.scored_by, written.failures) == (3, ("0", "1"), "Dice", 2)
    assert written.score == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert [page.text.find(f"{which} case: {name}") > 0 for which, name in
            (("Best", "best"), ("Median", "middle"), ("Worst", "worst"))] == [True] * 3  # fmt: skip
    assert page.count("img") > 9 and page.count("div", **{"class": "pager"}) == 3
    at = page.cells.index("volume")
    assert page.cells[at + 1 : at + 11] == [
        "worst", "1", "<liver>", "missed", "128", "worst", "1", "spleen", "invented", "72",
    ]  # fmt: skip
    assert "<liver>" not in page.text and "0.6667" in page.cells  # escaped; each case's Dice
    assert [note for note in written.notes if "Fold" in note] == [
        f"Fold {fold} is not fully trained: its log ends after 4 epochs." for fold in (0, 1)
    ]
    assert {"evaluating", "drawing"} <= set(told)
    assert mm.report(model, tmp_path / "page.html").bytes == written.bytes  # an older report is replaced
    assert not list(tmp_path.glob(".*partial*"))


def test_a_report_of_objects(cells):
    model, _ = cells
    written = mm.report(model)
    page = Page(written.path)
    check_stands_alone(page)
    assert written.path == model / "report.html" and (written.scored_by, written.failures) == ("PQ", 2)
    assert written.score == pytest.approx(0.75) and page.count("img") == 2
    assert "ExperimentPlanner?" in page.cells
    at = page.cells.index("objects")
    assert sorted([page.cells[at + 1 : at + 6], page.cells[at + 6 : at + 11]]) == [
        ["bad", "1", "cell", "invented", "1 object"], ["bad", "1", "cell", "missed", "1 of 2 objects"],
    ]  # fmt: skip


def test_a_report_of_objects_in_volumes(nnunet_env):
    """An object counts once, not once in every slice."""
    model, raw = training(nnunet_env, dimension=3, objects=True)
    write_json(model / "dataset.json", OBJECTS | {"file_ending": ".nii.gz"})
    truth, wrong = np.zeros((2, 12, 40, 50), np.uint8)
    truth[2:8, 2:12, 2:12], truth[4:10, 20:30, 20:32] = 1, 2
    wrong[2:8, 2:12, 2:12], wrong[4:10, 20:30, 40:48] = 5, 9
    write_json(
        model / "dataset_fingerprint.json",
        {
            "objects_in_volumes": summarise(
                measure(decode(truth[None], LabelFormat({"cell": 1})), num_classes=1, spacing=[2.0, 1.0, 1.0]),
                {"cell": 1},
            )
        },
    )
    for name, fold, found in (("good", "0", truth), ("bad", "1", wrong)):
        for place, values in (
            (raw / f"imagesTr/{name}_0000.nii.gz", truth.astype(np.float32)),
            (raw / f"labelsTr/{name}.nii.gz", truth),
            (model / f"fold_{fold}/validation/{name}.nii.gz", found),
        ):
            nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([1.0, 1.0, 2.0, 1.0])), place)
    written = mm.report(model)
    page = Page(written.path)
    assert (written.scored_by, written.failures) == ("PQ", 2) and written.score == pytest.approx(0.75)
    at = page.cells.index("objects")
    assert sorted([page.cells[at + 1 : at + 6], page.cells[at + 6 : at + 11]]) == [
        ["bad", "1", "cell", "invented", "1 object"], ["bad", "1", "cell", "missed", "1 of 2 objects"],
    ]  # fmt: skip
    assert page.count("div", **{"class": "pager"}) == 2
    assert any("2 objects, 2 in the median image" in cell for cell in page.cells)


def test_what_is_missing_or_damaged_is_told_in_the_page(organs, tmp_path):
    model, raw = organs
    (raw / "labelsTr/middle.nii.gz").write_bytes(b"damaged")
    for file in (raw / "imagesTr").iterdir():
        file.unlink()
    written = mm.report(model, tmp_path / "page.html")
    page = Page(written.path)
    assert (written.cases, written.faults) == (3, 1) and page.count("img") == 0
    assert "It is not shown: its image is not on this machine." in page.text.replace("Its image", "its image")
    assert any("labelsTr/middle.nii.gz" in cell for cell in page.cells)
    assert any(note.startswith("The images of Dataset001_A are not in") for note in written.notes)


def test_without_the_data_set_nnunets_own_scores_are_shown(organs, tmp_path, monkeypatch):
    model, _ = organs
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    liver = {"Dice": 0.4, "IoU": 0.25, "n_ref": 10, "n_pred": 15}
    spleen = {"Dice": 0.0, "IoU": 0.0, "n_ref": 0, "n_pred": 3}
    case = {"prediction_file": "/gone/best.nii.gz", "metrics": {"1": liver, "2": spleen}}
    write_json(model / "fold_0/validation/summary.json", {"metric_per_case": [case]})
    written = mm.report(model, tmp_path / "page.html")
    assert written.score == pytest.approx(0.2) and (written.failures, written.faults) == (1, 2)
    assert any("scores are those stored by nnU-Net" in note for note in written.notes)


def test_refusals(organs, tmp_path, capsys):
    model, raw = organs
    other = tmp_path / "mine.html"
    other.write_text("my own page")
    for path, words in (
        (other, "exists and is not a report"),
        (tmp_path / "a.pdf", "ends in .html"),
        (tmp_path / "no" / "a.html", "There is no folder"),
        (raw / "imagesTr" / "a.html", "No"),
    ):
        (raw / "dataset.json").write_text("{}")
        with pytest.raises(mm.InputError, match=words if words != "No" else "to which nothing is written"):
            mm.report(model, path)
    assert other.read_text() == "my own page"
    with pytest.raises(mm.InputError, match="is a file; name the folder of a training"):
        mm.report(other)
    for fold in ("0", "1"):
        for file in [*(model / f"fold_{fold}/validation").iterdir(), *(model / f"fold_{fold}").glob("*.txt")]:
            file.unlink()
    assert main(["report", str(model)]) == 1
    assert "There is no training in" in capsys.readouterr().err
