"""``--verify_dataset_integrity`` of object data sets: what passes, and every fault that is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.experiment_planning.verify_dataset_integrity import verify_instances

NAME = "Dataset007_Cells"


def cells(*values: int) -> np.ndarray:
    """A label map uint16 [24, 24] with a square of 16 pixels for each value."""
    ids = np.zeros((24, 24), np.uint16)
    for i, value in enumerate(values):
        ids[6 * (i // 4) : 6 * (i // 4) + 4, 6 * (i % 4) : 6 * (i % 4) + 4] = value
    return ids


@pytest.fixture
def dataset(nnunet_env) -> Path:
    """A data set of three TIFF cases without a fault; the second is empty."""
    folder = nnunet_env.raw / NAME
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for name, ids in (("a", cells(1, 2, 700)), ("b", cells()), ("c", cells(3, 9))):
        tifffile.imwrite(folder / "imagesTr" / f"{name}_0000.tif", np.uint8(ids > 0) * 100)
        tifffile.imwrite(folder / "labelsTr" / f"{name}.tif", ids)
    declare(folder)
    return folder


def declare(folder: Path, **change: object) -> dict:
    content = {
        "labels": {"background": 0, "cell": 1},
        "channel_names": {"0": "phase contrast"},
        "numTraining": 3,
        "file_ending": ".tif",
        "overwrite_image_reader_writer": "InstanceIO",
    } | change
    (folder / "dataset.json").write_text(json.dumps(content))
    return content


def verify(folder: Path) -> None:
    verify_instances(folder, json.loads((folder / "dataset.json").read_text()), 1)


def label(folder: Path, name: str, ids: np.ndarray) -> None:
    tifffile.imwrite(folder / "labelsTr" / f"{name}.tif", ids)


def interpolated(folder: Path) -> None:
    label(folder, "a", gaussian_filter(cells(200, 0, 90), 1))


def saved_as_jpeg(folder: Path) -> None:
    tifffile.imwrite(folder / "labelsTr" / "a.tif", np.uint8(cells(1, 2)), compression="jpeg")


def reserved_names(folder: Path) -> None:
    for part, ending in (("imagesTr", "_0000.tif"), ("labelsTr", ".tif")):
        (folder / part / f"a{ending}").rename(folder / part / f"a_seg{ending}")
        (folder / part / f"b{ending}").rename(folder / part / f"C{ending}")


def negative(folder: Path) -> None:
    label(folder, "a", cells(1, 40_000).astype(np.int16))


def float_mask(folder: Path) -> None:
    label(folder, "a", cells(1, 2).astype(np.float32) / 4)


def undeclared(folder: Path) -> None:
    declare(folder, label_divisor=1000)
    for name in "abc":
        label(folder, name, cells(1001, 1002))
    label(folder, "c", cells(1001, 2001))


def other_size(folder: Path) -> None:
    label(folder, "a", cells(1)[:20])


def undeclared_layers(folder: Path) -> None:
    tifffile.imwrite(folder / "labelsTr" / "a.tif", np.stack([cells(1), cells(0, 2)]), photometric="minisblack")


def no_mask(folder: Path) -> None:
    (folder / "labelsTr" / "b.tif").unlink()


def no_image(folder: Path) -> None:
    shutil.copy(folder / "labelsTr" / "b.tif", folder / "labelsTr" / "d.tif")


def truncated(folder: Path) -> None:
    path = folder / "labelsTr" / "c.tif"
    path.write_bytes(path.read_bytes()[:300])


def truncated_image(folder: Path) -> None:
    path = folder / "imagesTr" / "c_0000.tif"
    path.write_bytes(path.read_bytes()[:300])


def another_channel(folder: Path) -> None:
    declare(folder, channel_names={"0": "phase contrast", "1": "DAPI"})


def other_voxels(folder: Path) -> None:
    options = {"imagej": True, "metadata": {"unit": "um"}}
    tifffile.imwrite(folder / "imagesTr" / "a_0000.tif", np.uint8(cells(1)), resolution=(2, 2), **options)
    tifffile.imwrite(folder / "labelsTr" / "a.tif", cells(1), resolution=(1, 1), **options)


def too_many(folder: Path) -> None:
    ids = np.zeros((400, 400), np.uint16)
    ids[::2, ::2] = np.arange(200 * 200).reshape(200, 200)
    tifffile.imwrite(folder / "imagesTr" / "a_0000.tif", ids)
    label(folder, "a", ids)


def no_number(folder: Path) -> None:
    image = np.zeros((24, 24), np.float32)
    image[3, 3:5] = np.nan, np.inf
    tifffile.imwrite(folder / "imagesTr" / "a_0000.tif", image)


def volume_of_a_flat_label(folder: Path) -> None:
    tifffile.imwrite(folder / "imagesTr" / "a_0000.tif", np.zeros((5, 24, 24), np.uint8), metadata={"axes": "ZYX"})


FAULTS = [
    (interpolated, r"labelsTr/a\.tif: It is not a label map: .* resize it with nearest neighbour only"),
    (saved_as_jpeg, r"labelsTr/a\.tif is compressed as a JPEG inside its TIFF"),
    (reserved_names, r"(?s)has 2 faults.*'a_seg' ends in _seg.*case names C and c are the same name on s"),
    (negative, r"labelsTr/a\.tif: The mask holds the negative value -25536"),
    (float_mask, r"labelsTr/a\.tif: The mask holds 0.25"),
    (undeclared, r"labelsTr/c\.tif: Id 2001 is of class 2 .* its classes are 1 cell"),
    (other_size, r"labelsTr/a\.tif has the size 20 × 24, its image 24 × 24"),
    (undeclared_layers, r'labelsTr/a\.tif has the size 2 × 24 × 24.*"overlap_layers": true'),
    (no_mask, r"labelsTr/b\.tif does not exist; .*b_0000\.tif needs a label file"),
    (no_image, r"labelsTr/d\.tif has no image in imagesTr"),
    (truncated, r"labelsTr/c\.tif cannot be read"),
    (truncated_image, r"imagesTr/c_0000\.tif cannot be read"),
    (no_number, r"imagesTr/a_0000\.tif: 2 of 576 values are NaN or infinite; replace them"),
    (
        volume_of_a_flat_label,
        r"labelsTr/a\.tif has the size 24 × 24, its image 5 × 24 × 24; .* must be on the same grid",
    ),
    (another_channel, r"a_0000\.tif: 1 channel, but dataset\.json names 2"),
    (other_voxels, r"labelsTr/a\.tif has voxels of 1 × 1 µm, but its image a_0000\.tif of 0\.5 × 0\.5"),
    (too_many, r"labelsTr/a\.tif: It holds 39999 objects, but at most 32767"),
]


def test_a_sound_data_set_passes(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(dataset)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_faults_are_found(dataset: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(dataset)
    with pytest.raises(InputError, match=sentence):
        verify(dataset)


def test_all_faults_come_in_one_message(dataset: Path) -> None:
    for spoil in (negative, no_image, no_mask, truncated):
        spoil(dataset)
    with pytest.raises(InputError) as caught:
        verify(dataset)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"The data set {NAME} has 4 faults:"
    assert [line.split(".tif")[0][-1] for line in lines[1:]] == ["a", "b", "c", "d"]


def test_the_list_is_capped(dataset: Path) -> None:
    for i in range(25):
        shutil.copy(dataset / "labelsTr" / "b.tif", dataset / "labelsTr" / f"extra{i}.tif")
    with pytest.raises(InputError) as caught:
        verify(dataset)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("has 25 faults:")
    assert len(lines) == 22
    assert lines[-1] == "- and 5 more"


def test_what_real_annotations_contain_passes_with_a_warning_each(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = cells(1, 2, 1, 0, 3)
    ids[12:22, 12:22], ids[16, 16], ids[23, 0], ids[0, 23] = 5, 0, 5, 9
    label(dataset, "a", ids)
    label(dataset, "c", cells(1, 2, 1, 2))
    verify(dataset)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["WARNING"] * 4
    assert "3 objects are in several pieces" in lines[0] and "a.tif (1), c.tif (2)" in lines[0]
    assert "convert with split_pieces" in lines[0]
    assert "1 object has stray pixels" in lines[1]
    assert "1 object has holes" in lines[2]
    assert "1 object is a single pixel: a.tif (1)" in lines[3]


def test_a_wrong_file_ending_is_told(dataset: Path) -> None:
    declare(dataset, file_ending=".png")
    with pytest.raises(InputError, match=r"imagesTr holds no image that ends with _0000\.png"):
        verify(dataset)


def test_png_and_layers_in_nifti_pass(nnunet_env) -> None:
    for number, ending in enumerate((".png", ".nii.gz")):
        folder = nnunet_env.raw / f"Dataset00{number}_Made"
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        if ending == ".png":
            Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(folder / "imagesTr" / "x_0000.png")
            Image.fromarray(cells(1, 2)).save(folder / "labelsTr" / "x.png")
        else:
            layers = np.stack([cells(1001), cells(2001, 1002)])
            sitk.WriteImage(sitk.GetImageFromArray(cells()), str(folder / "imagesTr" / "x_0000.nii.gz"))
            sitk.WriteImage(sitk.GetImageFromArray(layers), str(folder / "labelsTr" / "x.nii.gz"))
        channels = {str(c): "rgb" for c in range(3 if ending == ".png" else 1)}
        layered = {"label_divisor": 1000, "overlap_layers": True, "labels": {"background": 0, "a": 1, "b": 2}}
        declare(
            folder, numTraining=1, file_ending=ending, channel_names=channels, **(layered if ending != ".png" else {})
        )
        verify(folder)


def plan(*arguments: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-c",
        "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import "
        "extract_fingerprint_entry as run; run()",
        "-d",
        "7",
        "-np",
        "2",
        "--verify_dataset_integrity",
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=400)


@pytest.mark.slow
def test_nnunets_command_passes_and_finds_faults(dataset: Path) -> None:
    done = plan()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verify_dataset_integrity Done" in done.stdout
    negative(dataset)
    truncated(dataset)
    done = plan()
    assert done.returncode != 0
    assert f"The data set {NAME} has 2 faults:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("spoil", "sentence"), [fault for fault in FAULTS if fault[0] in (other_size, no_number)])
def test_without_the_check_the_case_that_planning_fails_at_is_named(
    dataset: Path, spoil: Callable[[Path], None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.experiment_planning import plan_and_preprocess_entrypoints

    def fails(*_: object, **__: object) -> None:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(sys, "argv", ["nnUNetv2_plan_and_preprocess", "-d", "7", "-pl", "IAUNetPlanner", "-c", "2d"])
    monkeypatch.setattr(plan_and_preprocess_entrypoints, "extract_fingerprints", fails)
    with pytest.raises(ValueError, match="operands"):  # nothing of ours: the error stays
        plan_and_preprocess_entrypoints.plan_and_preprocess_entry()
    spoil(dataset)
    with pytest.raises(SystemExit, match=sentence):
        plan_and_preprocess_entrypoints.plan_and_preprocess_entry()


def test_the_hook_runs_ours_then_nnunets_own(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.experiment_planning import plan_and_preprocess_api

    verification = plan_and_preprocess_api.verify_dataset_integrity
    negative(dataset)
    with pytest.raises(InputError, match="negative value"):
        verification(str(dataset), 1)
    # nnU-Net's own: another data set's labels are none of our business
    declare(dataset, overwrite_image_reader_writer="NaturalImage2DIO", numTraining=4)
    with pytest.raises(AssertionError, match="expected number of training cases"):
        verification(str(dataset), 1)
    label(dataset, "a", cells(1))
    declare(dataset, numTraining=4)
    with pytest.raises(AssertionError, match="expected number of training cases"):
        verification(str(dataset), 1)


def test_labels_elsewhere_are_a_fault(nnunet_env) -> None:
    folder = nnunet_env.raw / NAME
    for part, file, x in (("imagesTr", "a_0000", 0), ("labelsTr", "a", 3)):
        (folder / part).mkdir(parents=True)
        image = sitk.GetImageFromArray(cells(1, 2))
        image.SetOrigin((x, 0))
        sitk.WriteImage(image, str(folder / part / f"{file}.nii.gz"))
    declare(folder, file_ending=".nii.gz", numTraining=1)
    with pytest.raises(
        InputError, match=r"has 1 fault:\n- .*labelsTr/a.nii.gz is not on the grid of its image .* 3 voxels away"
    ):
        verify(folder)
