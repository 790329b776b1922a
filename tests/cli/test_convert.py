"""`maskmed convert` from the command line: every form, what it prints, and its one-sentence errors."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from maskmed_nnu.cli.main import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with the same cells in all styles."""
    mask = np.zeros((20, 24), np.uint8)
    mask[2:8, 2:8], mask[10:18, 10:20] = 1, 2
    polygons = [[2, 2, 8, 2, 8, 8, 2, 8], [10, 10, 20, 10, 20, 18, 10, 18]]
    annotations, images = [], []
    for i in range(3):
        image = Image.fromarray(np.random.default_rng(i).integers(0, 255, mask.shape).astype(np.uint8))
        arrays = {f"images/c{i}.png": image, f"masks/c{i}.png": mask, f"cellpose/c{i}_masks.png": mask}
        arrays |= {f"cellpose/c{i}.png": image, f"dsb/c{i}/images/c{i}.png": image}
        arrays |= {f"foreground/c{i}.png": mask > 0}
        arrays |= {f"dsb/c{i}/masks/{k}.png": np.uint8(255) * (mask == k) for k in (1, 2)}
        for name, array in arrays.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (array if isinstance(array, Image.Image) else Image.fromarray(array.astype(np.uint8))).save(path)
        images.append({"id": i, "file_name": f"c{i}.png", "height": 20, "width": 24})
        annotations += [
            {"id": 2 * i + k, "image_id": i, "category_id": k + 1, "segmentation": [p], "iscrowd": 0}
            for k, p in enumerate(polygons)
        ]
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def convert(source: Path, line: str, *more: str) -> int:
    words = [str(source / word[1:]) if word.startswith("@") else word for word in line.split()]
    return main(["convert", *words, "--output", str(source / "raw"), *more])


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("--coco @instances.json --images @images", {"cell": 1, "nucleus": 2}),
        ("--coco @instances.json --images @images --classes nucleus", {"nucleus": 1}),
        ("--images @images --masks @masks", {"object": 1}),
        ("--images @cellpose --classes cell", {"cell": 1}),
        ("--dsb @dsb --classes nucleus", {"nucleus": 1}),
        ("--images @images --masks @masks --semantic --classes tumour edema", {"tumour": 1, "edema": 2}),
        ("--images @images --masks @foreground --components --connectivity 1 --min-volume 2", {"foreground": 1}),
    ],
)
def test_every_form_makes_a_data_set_and_names_the_next_commands(source, capsys, monkeypatch, line, labels):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert convert(source, f"{line} --id 7 --name Cells --test 1") == 0
    folder = source / "raw" / "Dataset007_Cells"
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, **labels}
    assert description["numTraining"] == 2
    assert sorted(p.stem for p in (folder / "labelsTr").iterdir()) == ["c0", "c1"]
    assert sorted(p.stem for p in (folder / "imagesTs").iterdir()) == ["c2_0000"]
    value = np.asarray(Image.open(folder / "labelsTr" / "c0.png"))
    count = 1 if "--classes nucleus" in line and "--coco" in line else 2
    assert len(np.unique(value)) == count + 1
    assert (value > 0).sum() == (80 if count == 1 else 116)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(folder)
    assert "  refused    nothing" in printed
    network = "MaskMed" if "--semantic" in line else "IAUNet"
    after = [printed[i].strip() for i in range(printed.index("Next:") + 1, len(printed))]
    assert after[0] == f"export nnUNet_raw={source / 'raw'}"
    assert after[1].startswith(f"nnUNetv2_plan_and_preprocess -d 7 -pl {network}Planner")
    assert after[2] == f"nnUNetv2_train 7 2d 0 -p {network}Plans -tr nnUNetTrainer{network}"
    assert after[3].startswith(f"nnUNetv2_predict -i {folder / 'imagesTs'} ")
    assert after[4:] == ["or plan and train in one command:", "maskmed train 7"]


def test_objects_that_share_an_id_are_told_and_split_on_request(source, capsys):
    for path in (source / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        Image.fromarray(np.uint8(255) * (mask > 0)).save(path)
    line = "--images @images --masks @masks --name Cells --id"
    assert convert(source, f"{line} 7") == 0
    printed = capsys.readouterr().out
    assert "WARNING: Objects are not distinguished: every label map holds one id only, in separate pieces" in printed
    assert "Convert with split_pieces" in printed and "--verify_dataset_integrity" in printed
    assert convert(source, f"{line} 8 --split-pieces") == 0
    printed = capsys.readouterr().out
    assert "became 6" in printed and "not distinguished" not in printed


def test_commands_can_be_pasted_whatever_the_folder_is_called(source, capsys, monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    raw = source / "my data (1) $HOME"
    words = f"convert --dsb {source / 'dsb'} --id 7 --name A --test 1 --output".split()
    assert main([*words, str(raw)]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    export, predict = (next(line for line in printed if line.startswith(word)) for word in ("export", "nnUNetv2_pred"))
    assert shlex.split(export) == ["export", f"nnUNet_raw={raw}"]
    assert shlex.split(predict)[2] == str(raw / "Dataset007_A" / "imagesTs")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("afile", "afile cannot be used: it is a file, where a folder is needed"),
        ("afile/raw", "afile/raw cannot be used: it is below a file"),
        ("dsb/../dsb", "is the input folder"),
        ("raw/Dataset001_Other/imagesTr", "belongs to the images and labels of the data set"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_anything_is_read(source, capsys, monkeypatch, output, said):
    (source / "afile").write_text("x")
    (source / "raw" / "Dataset001_Other" / "imagesTr").mkdir(parents=True)
    (source / "raw" / "Dataset001_Other" / "dataset.json").write_text("{}")
    monkeypatch.setattr("maskmed_nnu.instances.conversion.source_images.read", None)
    words = f"convert --dsb {source / 'dsb'} --id 7 --name A --output {source / output}"
    assert main(words.split()) == 1
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error


def test_the_data_set_goes_to_nnunet_raw_by_default(source, capsys, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(source / "mine"))
    arguments = ["convert", "--dsb", str(source / "dsb"), "--id", "12", "--name", "A"]
    assert main(arguments) == 0
    assert (source / "mine" / "Dataset012_A" / "dataset.json").is_file()
    assert "export" not in capsys.readouterr().out
    monkeypatch.delenv("nnUNet_raw")
    assert main(arguments) == 1
    assert "name a folder as output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--id 7 --name A", "There is no source to convert; give coco and images"),
        ("--coco @instances.json --id 7 --name A", "coco is not a source to convert; give coco and images"),
        (
            "--coco @instances.json --images @images --masks @masks --id 7 --name A",
            "coco and images and masks is not a source",
        ),
        ("--dsb @dsb --semantic --id 7 --name A", "dsb and semantic is not a source"),
        ("--dsb @dsb --id 0 --name A", "id 0 is not a number"),
        ("--dsb @dsb --id 7 --name a/b", "name 'a/b' is not a name"),
        ("--dsb @dsb --id 7 --name A --classes a b", "classes names 2 classes"),
        ("--dsb @nowhere --id 7 --name A", "is not a folder"),
        ("--dsb @dsb --id 7 --name A --test 3", "test is 3 of 3 cases"),
        ("--dsb @dsb --id 7 --name A --classes background", "'background', which is reserved in nnU-Net; rename it"),
        ("--coco @instances.json --images @images --id 7 --name A --classes cells", "it has cell, nucleus"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing_behind(source, capsys, line, said):
    assert convert(source, line) == 1
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
    assert not list((source / "raw").glob("*")) and not list((source / "raw").glob(".*"))


def test_the_axes_of_tiffs_can_be_told(tmp_path, capsys):
    values = np.random.default_rng(0).integers(0, 255, (3, 2, 20, 24)).astype(np.uint8)
    mask = np.zeros((3, 20, 24), np.uint8)
    mask[:, 2:8, 2:8] = 1
    for part, array in (("images", values), ("masks", mask)):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "a.tif", array, photometric="minisblack")
    line = "--images @images --masks @masks --id 7 --name Cells"
    assert convert(tmp_path, line) == 1
    assert "a.tif has the axes QQYX (3 × 2 × 20 × 24), and 2 of them are unknown" in capsys.readouterr().err
    assert convert(tmp_path, f"{line} --axes zcyx") == 0
    assert len(list((tmp_path / "raw/Dataset007_Cells/imagesTr").iterdir())) == 2
    for axes in ("TYX", "ZZYX", "ZC"):
        assert convert(tmp_path, f"{line} --axes {axes}") == 2
        assert f"Invalid value for '--axes': '{axes}' does not name the axes of an image" in capsys.readouterr().err


def write_volumes(folder: Path) -> None:
    folder.mkdir()
    for name, sign in (("a", -1.0), ("b", 1.0)):
        image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.diag([sign, 1, 1, 1]))
        nibabel.save(image, folder / f"{name}_0000.nii.gz")


def test_volumes_are_turned_to_one_orientation(tmp_path, capsys):
    write_volumes(tmp_path / "in")
    given = ["convert", "--reorient", "lps", "--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert printed == f"{tmp_path / 'out'}\n  2 volumes in the orientation LPS; before: 1 LAS, 1 RAS\n"
    for path in (tmp_path / "out").iterdir():
        assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == "LPS"
    assert main(given) == 1
    assert "exists and is not empty; name a new folder as output." in capsys.readouterr().err


@pytest.mark.parametrize("code", ["RA", "RRS", "XYZ", "ISR", "RASP", ""])
def test_what_is_no_orientation(code, capsys):
    assert main(["convert", "--reorient", code, "--images", "a", "--output", "b"]) == 2
    assert "is not an orientation; give a letter each of R or L, A or P, S or I" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--reorient RAS --images in", "name it as images, and the copy as output"),
        ("--reorient RAS --output out", "name it as images, and the copy as output"),
        ("--reorient RAS --images in --output out --masks m", "masks cannot be combined with reorient"),
        ("--reorient RAS --images in --output out --id 5 --name A", "id, name cannot be combined with reorient"),
        ("--images in --masks m --name A", "The data set needs both id and name"),
        ("--images in --masks m --id 5", "The data set needs both id and name"),
    ],
)
def test_options_that_do_not_go_together(line, said, capsys):
    assert main(["convert", *line.split()]) == 1
    assert said in capsys.readouterr().err


def test_json_is_one_object_and_nothing_else(source, capsys):
    line = "--images @images --masks @masks --id 7 --name Cells --test 1"
    assert convert(source, f"{line} --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(source / "raw" / "Dataset007_Cells")
    assert len(told["test_cases"]) == 1 and told["cases"] and told["notes"] and told["next_commands"]


def test_volumes_go_on_in_three_dimensions(tmp_path, capsys):
    mask = np.zeros((6, 20, 24), np.uint8)
    mask[1:4, 2:8, 2:8] = 1
    for folder, name, values in (("01", "t000", mask + 50), ("01_GT/SEG", "man_seg000", mask)):
        (tmp_path / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / folder / f"{name}.tif", values, photometric="minisblack")
    assert convert(tmp_path, "--ctc @ --spacing 2 0.4 0.4 --id 7 --name Cells") == 0
    printed = capsys.readouterr().out
    assert "nnUNetv2_plan_and_preprocess -d 7 -pl IAUNetPlanner -c 3d_fullres" in printed
    assert "nnUNetv2_train 7 3d_fullres 0 " in printed and "-d 7 -c 3d_fullres -f 0" in printed
    told = json.loads((tmp_path / "raw/Dataset007_Cells/imagesTr/t000.json").read_text())
    assert told == {"spacing": [2, 0.4, 0.4]}
