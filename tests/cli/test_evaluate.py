"""`maskmed evaluate` on small folders: what it prints, what it writes, and its one-sentence errors."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from maskmed_nnu.cli.main import main
from maskmed_nnu.instances.coco import coco_results
from maskmed_nnu.instances.detections import concatenate, from_instance_map, make_detections
from maskmed_nnu.instances.files import read_ids
from maskmed_nnu.instances.instance_map import LabelFormat, decode
from maskmed_nnu.instances.metrics import InstanceMetrics
from tests.instances.cells import write_cells


@pytest.fixture(params=[1, 3], ids=["cells", "cells, nuclei and stuff"])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """True label files below a data set, and a prediction whose objects are eroded by a pixel on the left."""
    data_set = write_cells(tmp_path, images=3, classes=request.param, overlapping=request.param == 3)
    prediction = tmp_path / "predicted"
    prediction.mkdir()
    for path in (data_set / "labelsTr").glob("*.tif"):
        ids = tifffile.imread(path)
        ids[..., 1:][(ids[..., 1:] != ids[..., :-1]) & (ids[..., 1:] > 0)] = 0
        tifffile.imwrite(prediction / path.name, ids, photometric="minisblack")
    return data_set / "labelsTr", prediction


def command(truth: Path, prediction: Path, *more: str | Path) -> list[str]:
    return ["evaluate", "--truth", str(truth), "--prediction", str(prediction), *map(str, more)]


def rows(text: str) -> dict[str, list[str]]:
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells if set(row[0]) != {"-"}}


def test_table_json_and_last_line(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    truth, prediction = folders
    assert main(command(truth, prediction, "--json", tmp_path / "summary.json")) == 0
    text = capsys.readouterr().out
    dataset = json.loads((truth.parent / "dataset.json").read_text())
    label_format = LabelFormat.from_dataset_json(dataset)
    stuff = [3] if len(label_format.classes) == 3 else []
    expected = InstanceMetrics(stuff_classes=stuff)
    for path in sorted(truth.glob("*.tif")):
        sides = [
            decode(read_ids(p, overlap_layers=label_format.overlap_layers), label_format)
            for p in (prediction / path.name, path)
        ]
        expected.update(*sides)
    scores = expected.compute()

    table = rows(text)
    assert list(table) == ["class", *list(label_format.classes), "mean"]
    names = ["AP", "AP50", "AP75", "F1@0.5", "F1@0.75", "DSB AP", "AJI", "PQ", "SQ", "RQ", "FROC", "lesion Dice"]
    assert table["class"] == names
    scores["FROC"] = scores["per_class"][1]["FROC"] = np.nan  # which takes scores
    assert table["mean"] == [f"{scores[name]:.3f}".replace("nan", "–") for name in names]
    assert table["cell"] == [f"{scores['per_class'][1][name]:.3f}".replace("nan", "–") for name in names]
    assert 0 < scores["AP"] < 1
    if stuff:
        assert table["matrix"][0] == "–"
        assert 0.5 < float(table["matrix"][7]) < 1
    last = text.strip().splitlines()[-1]
    assert last == f"F1@0.5 {scores['F1@0.5']:.3f}  AP50 {scores['AP50']:.3f}  PQ {scores['PQ']:.3f}"

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["images"] == 4
    assert summary["PQ"] == scores["PQ"]
    assert summary["per_class"]["cell"]["AJI"] == scores["per_class"][1]["AJI"]
    assert summary["image_mean"]["F1@0.5"] == scores["image_mean"]["F1@0.5"]
    assert summary["AP_large"] is None
    assert not list(tmp_path.glob(".*partial*"))


def test_the_truth_itself(folders: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    truth, _ = folders
    assert main(command(truth, truth)) == 0
    assert capsys.readouterr().out.strip().endswith("F1@0.5 1.000  AP50 1.000  PQ 1.000")


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Path, Path]:
    truth = write_cells(tmp_path, images=2) / "labelsTr"
    prediction = tmp_path / "predicted"
    shutil.copytree(truth, prediction)
    return truth, prediction


def results(truth: Path, wrong_score: float) -> list[dict]:
    """COCO results: the true objects at 0.5, and in every image one more in the corner."""
    found = []
    for path in sorted(truth.glob("*.tif")):
        ids = tifffile.imread(path)
        numbers, index = np.unique(ids, return_inverse=True)
        true = from_instance_map(index.reshape(1, *ids.shape), np.ones(len(numbers) - 1))
        box, mask = np.append(true.boxes, [[0, 0, 2, 2]], axis=0), [*true.masks, np.full((2, 2), 255, np.uint8)]
        scores = np.append(true.scores * 0.5, wrong_score)
        found += coco_results(make_detections(ids.shape, box, mask, scores, np.ones(len(box))), path.stem)
    return found


def test_scores_rank_the_objects(cells: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lines = []
    for wrong_score in (0.1, 0.9):
        file = tmp_path / "predictions_coco.json"
        file.write_text(json.dumps(results(cells[0], wrong_score)))
        assert main(command(*cells, "--scores", file)) == 0
        table = rows(capsys.readouterr().out)["mean"]
        lines.append([float(value) for value in table])
    assert lines[0][1] == 1.0  # wrong ones come last
    assert 0.5 < lines[1][1] < 1.0
    assert lines[0][3:10] == lines[1][3:10] == [1.0] * 7  # of the id maps
    assert lines[1][10] < lines[0][10] == 1.0  # FROC


def test_results_that_do_not_count_are_told(cells: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    found, file = results(cells[0], 0.1), tmp_path / "results.json"
    empty = {"size": [96, 112], "counts": [96 * 112]}
    others = [{**found[0], "image_id": "x"}, {**found[0], "image_id": 7}, {**found[0], "segmentation": empty}]
    texts = [{**entry, "score": str(entry["score"]), "category_id": "1"} for entry in [*found, *others, found[1]]]
    lines = []
    for content in (found, texts):
        file.write_text("\ufeff" + json.dumps(content), encoding="utf-8")
        assert main(command(*cells, "--scores", file)) == 0
        lines.append(capsys.readouterr().out.splitlines())
    assert [line for line in lines[1] if line.startswith("Note: ")] == [
        "Note: 1 result of results.json listed twice, counted once.",
        'Note: 2 results of images without truth, not counted: "x", 7.',
        "Note: 1 result with an empty mask, not counted.",
    ]
    assert [line for line in lines[1] if not line.startswith("Note: ")] == lines[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": "high"}, r'score of results\[0\] in .*r.json is "high", but it must be a number'),
        ({"score": None}, r"score of results\[0\] .* is null"),
        ({"score": float("nan")}, r"score of results\[0\] .* is NaN"),
        ({"image_id": ["a"]}, r'image_id of results\[0\] .* is \["a"\]'),
        ({"category_id": 9}, r"category_id 9, but the classes of the data set are 1 \(cell\)"),
        ({"category_id": "cell"}, r'category_id of results\[0\] .* is "cell", but it must be an integer'),
        ({"segmentation": {"size": [112, 96], "counts": [0, 96 * 112]}}, "r.json is unusable: its RLE is for an image"),
        ({"segmentation": None}, "r.json is unusable: its segmentation is not an RLE"),
    ],
)
def test_a_wrong_result(cells: tuple[Path, Path], tmp_path: Path, capsys, change: dict, said: str) -> None:
    found = results(cells[0], 0.1)
    (tmp_path / "r.json").write_text(json.dumps([{**found[0], **change}, *found[1:]]))
    assert re.search(said, refused(command(*cells, "--scores", tmp_path / "r.json"), capsys))


def test_results_and_labels_that_differ_in_quotes_only(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data_set = write_cells(tmp_path, images=2)
    dataset = json.loads((data_set / "dataset.json").read_text())
    dataset["labels"] = {"background": "0", "cell": "1"}
    (data_set / "dataset.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(dataset).encode())
    for path in (data_set / "labelsTr").glob("*.tif"):
        path.rename(path.with_name(path.name.replace("cells_", "")))
    found = [{**entry, "image_id": int(entry["image_id"])} for entry in results(data_set / "labelsTr", 0.1)]
    (tmp_path / "r.json").write_text(json.dumps(found))
    assert main(command(data_set / "labelsTr", data_set / "labelsTr", "--scores", tmp_path / "r.json")) == 0
    assert rows(capsys.readouterr().out)["cell"][1] == "1.000"


def as_volumes(cells: tuple[Path, Path], *, linked: bool) -> None:
    """Two slices of each image; in the prediction a slice's ids are its own where they are not `linked`."""
    for folder in cells:
        for path in folder.glob("*.tif"):
            ids = np.stack([tifffile.imread(path)] * 2)
            if folder == cells[1] and not linked:
                ids[1][ids[1] > 0] += 1000
            tifffile.imwrite(path, ids, photometric="minisblack")


PERFECT = "F1@0.5 1.000  AP50 1.000  PQ 1.000"


def test_objects_of_volumes_are_counted_in_space_or_slice_by_slice(cells: tuple[Path, Path], capsys) -> None:
    as_volumes(cells, linked=False)
    for more, images, perfect in (((), 3, False), (("--slices",), 6, True)):
        assert main(command(*cells, *more)) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"{images} images")
        assert text.strip().endswith(PERFECT) == perfect
        assert ("a 2d model predicts slice by slice and does not link the ids" in text) == (not perfect)


def test_linked_ids_of_a_volume_are_perfect_in_space(cells: tuple[Path, Path], capsys) -> None:
    as_volumes(cells, linked=True)
    assert main(command(*cells)) == 0
    text = capsys.readouterr().out
    assert text.startswith("3 images") and text.strip().endswith(PERFECT) and "Note" not in text


@pytest.mark.parametrize("linked", [True, False])
def test_results_of_slices_are_objects_in_space_where_they_are_linked(cells, tmp_path, capsys, linked) -> None:
    as_volumes(cells, linked=True)
    found = []
    for path in sorted(cells[0].glob("*.tif")):
        ids = decode(tifffile.imread(path)[None], LabelFormat({"cell": 1}))
        objects = from_instance_map(ids.ids, ids.classes)
        wrong = make_detections(objects.shape, [[0, 0, 0, 2, 2, 2]], [np.full((2, 2, 2), 255, np.uint8)], [0.4], [1])
        found += coco_results(concatenate([replace(objects, scores=objects.scores * 0.5), wrong]), path.stem)
    if not linked:
        found = [{key: value for key, value in result.items() if key != "instance_id"} for result in found]
    (tmp_path / "r.json").write_text(json.dumps(found))
    assert main(command(*cells, "--scores", tmp_path / "r.json")) == 0
    text = capsys.readouterr().out
    assert text.startswith("3 images" if linked else "6 images")
    assert ("volumes are evaluated slice by slice, because r.json has objects of single slices" in text) == (not linked)
    mean = rows(text)["mean"]
    assert (mean[1], mean[11]) == ("1.000", "1.000")  # AP and FROC: the invented ones have the lowest scores
    if linked:
        (tmp_path / "r.json").write_text(json.dumps([{**one, "image_id": "cells"} for one in found]))
        assert 'such as cells_000_0; there are only "cells" and the like' in refused(
            command(*cells, "--scores", tmp_path / "r.json"), capsys
        )


def refused(arguments: list[str], capsys: pytest.CaptureFixture) -> str:
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip()
    error = error[error.index("maskmed: ") :]  # behind the bar of what was read before
    assert error.endswith(".")
    assert "\n" not in error
    return error


def test_a_missing_prediction(cells: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    (cells[1] / "cells_001.tif").unlink()
    assert "prediction of cells_001 is missing" in refused(command(*cells), capsys)
    for file in cells[1].glob("*.tif"):
        file.rename(file.with_stem(f"{file.stem}_0000"))
    assert "it holds cells_000_0000.tif" in (told := refused(command(*cells), capsys))
    assert "a prediction has the name of its truth, such as cells_000.tif; rename" in told


def test_predictions_with_the_ending_of_another_data_set(cells: tuple[Path, Path], capsys) -> None:
    """As a model writes them that was trained on PNG."""
    truth, prediction = cells
    scores = []
    for _ in range(2):
        assert main(command(truth, prediction)) == 0
        scores.append(rows(capsys.readouterr().out)["mean"])
        for path in prediction.glob("*.tif"):
            Image.fromarray(tifffile.imread(path).astype(np.uint8)).save(path.with_suffix(".png"))
            path.unlink()
    assert scores[0] == scores[1] and len(list(prediction.glob("*.png"))) > 0
    for path in list(prediction.glob("*.png")):  # which of two?
        shutil.copy(path, path.with_suffix(".jpg"))
    assert main(command(truth, prediction)) == 1
    assert "as predictions of the case cells_000; keep one of them" in capsys.readouterr().err


def test_sizes_that_differ(cells: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    tifffile.imwrite(cells[1] / "cells_001.tif", np.zeros((96, 100), np.uint16))
    error = refused(command(*cells), capsys)
    assert "cells_001.tif has 96 × 100 pixels" in error
    assert "96 × 112" in error


def test_an_undeclared_class_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    truth = write_cells(tmp_path, images=1, classes=2) / "labelsTr"
    prediction = tmp_path / "predicted"
    shutil.copytree(truth, prediction)
    tifffile.imwrite(prediction / "cells_000.tif", np.full((96, 112), 7001, np.uint16))
    assert f"{prediction / 'cells_000.tif'}: Id 7001" in refused(command(truth, prediction), capsys)


def test_other_refusals(cells: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    truth, prediction = cells
    broken = tmp_path / "broken.json"
    for content, sentence in (
        ("[", "is not valid JSON"),
        ('{"images": [], "annotations": []}', "holds no COCO results but an object with images, annotations"),
        (json.dumps([{**entry, "image_id": "x"} for entry in results(truth, 0.5)]), "belong to another data set"),
        (
            json.dumps([{**results(truth, 0.5)[0], "segmentation": [[1, 2, 3, 4, 5, 6]]}]),
            "its segmentation is not an RLE",
        ),
    ):
        broken.write_text(content)
        assert sentence in refused(command(truth, prediction, "--scores", broken), capsys)
    assert "none is not a folder; make it" in refused(
        command(truth, prediction, "--json", tmp_path / "none" / "a.json"), capsys
    )
    assert "none does not exist" in refused(command(tmp_path / "none", tmp_path / "none"), capsys)
    coco, earlier = tmp_path / "predictions_coco.json", tmp_path / "earlier.json"
    coco.write_text(json.dumps(results(truth, 0.5)))
    inputs = (coco, truth.parent / "dataset.json", next(truth.glob("*.tif")), prediction / "scores.json")
    inputs[-1].symlink_to(coco)
    before = [path.read_bytes() for path in inputs]
    for path in inputs:
        said = refused(command(truth, prediction, "--scores", coco, "--json", path), capsys)
        assert "does not hold scores of maskmed evaluate" in said or "belongs to the images and labels" in said
    assert "belongs to the images and labels" in refused(command(truth, prediction, "--json", truth / "a.json"), capsys)
    assert [path.read_bytes() for path in inputs] == before
    for _ in range(2):
        assert main(command(truth, prediction, "--json", earlier)) == 0
    assert "give 1 or more" in refused(command(truth, prediction, "--max-detections", "0"), capsys)
    assert "holds no file that ends in .tif" in refused(command(truth.parent, prediction), capsys)
    (truth.parent / "dataset.json").unlink()
    assert "No dataset.json declares objects" in refused(command(truth, prediction, "--flat"), capsys)


def test_a_prediction_in_another_place(cells: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    truth, prediction = cells
    dataset = json.loads((truth.parent / "dataset.json").read_text())
    (truth.parent / "dataset.json").write_text(json.dumps(dataset | {"file_ending": ".nii.gz"}))
    for folder, x in ((truth, 0.0), (prediction, 7.0)):
        for path in folder.glob("*.tif"):
            affine = np.eye(4)
            affine[0, 3] = x
            image = nibabel.Nifti1Image(tifffile.imread(path).T, affine)
            nibabel.save(image, path.with_suffix(".nii.gz"))
    text = refused(command(truth, prediction), capsys)
    assert "is not on the grid of its truth" in text and "7 voxels away" in text


@pytest.fixture
def organs(tmp_path: Path) -> tuple[Path, Path]:
    """Two class maps of a data set, of which the prediction misses a class in one."""
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "liver": 1, "spleen": 2}, "file_ending": ".png"})
    )
    for folder in ("labelsTs", "predicted"):
        (tmp_path / folder).mkdir()
        for name in "ab":
            labels = np.zeros((20, 20), np.uint8)
            labels[2:8, 2:8], labels[10:16, 10:16] = 1, 2 * (folder == "labelsTs" or name == "a")
            Image.fromarray(labels).save(tmp_path / folder / f"{name}.png")
    return tmp_path / "labelsTs", tmp_path / "predicted"


def test_classes(organs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    truth, prediction = map(str, organs)
    assert main(["evaluate", prediction, truth, "--csv", str(tmp_path / "scores.csv")]) == 0
    table = rows(capsys.readouterr().out)
    assert table["spleen"][:5] == ["1", "1", "0", "0", "0.500"]
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5
    assert main(["evaluate", "--truth", truth, "--prediction", prediction, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["liver"]["found"] == 2
    assert main(["evaluate", prediction, truth, "--compare", truth]) == 0
    assert "| b | spleen | 0.000 | 1.000 | +1.000 |" in re.sub(" +", " ", capsys.readouterr().out)
    assert "GT is given not at all" in refused(["evaluate", prediction], capsys)
    assert "only objects" in refused(["evaluate", prediction, truth, "--flat"], capsys)
