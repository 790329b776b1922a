"""Semantic masks become objects by their connected components, and what is left out is told with size and place."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.component_source import ComponentSource
from maskmed_nnu.instances.conversion.convert import Conversion, convert
from maskmed_nnu.nnunet.imageio.instance_io import InstanceIO

SPACING = (3.0, 1.0, 0.5)  # z, y, x: 1.5 mm³


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        nibabel.save(nibabel.Nifti1Image(values.T, np.diag([*SPACING[::-1], 1.0])), path)
    return path


def two_cubes(dim: int, apart: int) -> np.ndarray:
    """Cubes of two voxels that touch over `apart` axes: at a face for 1, at a corner for as many as there are."""
    mask = np.zeros((8,) * dim, np.uint8)
    mask[(slice(1, 3),) * dim] = 1
    mask[tuple(slice(3, 5) if axis < apart else slice(1, 3) for axis in range(dim))] = 1
    return mask


def write_case(folder: Path, mask: np.ndarray, name: str = "a", ending: str | None = None) -> tuple[Path, Path]:
    ending = ending or (".nii.gz" if mask.ndim == 3 else ".png")
    image = np.random.default_rng(len(name)).integers(0, 250, mask.shape).astype(np.uint8)
    save(folder / "images" / f"{name}{ending}", image)
    save(folder / "masks" / f"{name}{ending}", mask)
    return folder / "images", folder / "masks"


def run(folder: Path, *parts: Path, **options) -> tuple[Conversion, Path, dict]:
    target = folder / "Dataset010_T"
    done = convert(ComponentSource(*parts, **options), target)
    return done, target, json.loads((target / "dataset.json").read_text())


def objects(folder: Path, name: str = "a"):
    (path,) = (
        path for path in (folder / "labelsTr").iterdir() if path.name.split(".")[0] == name and path.suffix != ".json"
    )
    return InstanceIO().read_instances(str(path))[0]


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("connectivity", [None, 1, 2, 3])
def test_connectivity_decides_what_touching_makes_one(tmp_path, dim, connectivity):
    if (connectivity or 0) > dim:
        with pytest.raises(InputError, match=r"connectivity is 3, but .*a.png has 2 axes; give 1 to 2"):
            run(tmp_path, *write_case(tmp_path, two_cubes(dim, 1)), connectivity=connectivity)
        return
    for apart in range(1, dim + 1):
        folder = tmp_path / str(apart)
        _, target, _ = run(folder, *write_case(folder, two_cubes(dim, apart)), connectivity=connectivity)
        assert len(objects(target).classes) == (1 if apart <= (connectivity or dim) else 2)


def test_classes_become_panoptic_ids_and_keep_their_names(tmp_path):
    mask = np.zeros((6, 12, 12), np.uint8)
    mask[1:3, 1:4, 1:4], mask[4:6, 8:11, 8:11], mask[1:3, 4:8, 1:4] = 7, 7, 200  # the last one touches the first
    done, target, description = run(tmp_path, *write_case(tmp_path, mask), class_names=["core", "edema"])
    assert description["labels"] == {"background": 0, "core": 1, "edema": 2} and description["label_divisor"] == 1000
    written = np.asarray(nibabel.load(target / "labelsTr" / "a.nii.gz").dataobj).T
    np.testing.assert_array_equal(np.unique(written), [0, 1001, 1002, 2001])
    np.testing.assert_array_equal(written // 1000, (mask == 7) + 2 * (mask == 200))
    assert "objects    3 (1 core: 2, 2 edema: 1)" in done.lines
    assert (
        "note       objects are connected components of a class; "
        "components that touch, even at a corner, are one object" in done.lines
    )
    with pytest.raises(InputError, match="gives 1 name, but the masks hold 2 values beside 0: 7, 200"):
        ComponentSource(tmp_path / "images", tmp_path / "masks", ["core"])


@pytest.mark.parametrize(("least", "kept"), [(0.0, 3), (3.0, 2), (3.1, 1), (12.0, 1)])
def test_components_below_a_volume_in_mm3_are_left_out_and_told(tmp_path, least, kept):
    mask = np.zeros((6, 12, 12), np.uint8)
    mask[0, 0, 0], mask[2, 5, 5:7], mask[3:5, 8:10, 8:10] = 1, 1, 1  # 1.5, 3 and 12 mm³
    done, target, _ = run(tmp_path, *write_case(tmp_path, mask), min_volume=least)
    assert len(objects(target).classes) == kept
    text = (target / "conversion.txt").read_text()
    assert ("refused    nothing" in done.lines) == (kept == 3)
    assert any(f"components below {least:g} mm³" in line for line in done.lines) == (least > 0)
    assert ("component of foreground at 0, 0, 0: 1.5 mm³" in text) == (kept < 3)
    assert ("component of foreground at 2, 5, 5: 3 mm³" in text) == (kept < 2)


def test_where_nothing_tells_a_spacing_pixels_count_and_areas_in_2d(tmp_path):
    mask = np.zeros((20, 20), np.uint8)
    mask[2, 2:5], mask[10:14, 10:14] = 1, 1
    done, target, _ = run(tmp_path, *write_case(tmp_path, mask), min_volume=4)
    assert len(objects(target).classes) == 1 and any("at 2, 2: 3 pixels" in line for line in done.lines)
    flat = tmp_path / "flat"
    done, _, _ = run(flat, *write_case(flat, mask, ending=".nii.gz"), min_volume=2)
    assert any("at 2, 2: 1.5 mm²" in line for line in done.lines)
    stacks = tmp_path / "stacks"
    for part in ("images", "masks"):
        (stacks / part).mkdir(parents=True)
        options = {"imagej": True, "resolution": (0.5, 0.5), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 4}}
        values = np.stack([mask] * 3) * (90 if part == "images" else 1) + (part == "images")
        tifffile.imwrite(stacks / part / "a.tif", values.astype(np.uint8), **options)
    done, target, _ = run(stacks, stacks / "images", stacks / "masks", min_volume=2e-7)
    assert len(objects(target).classes) == 1 and any("at 0, 2, 2: 1.44e-07 mm³" in line for line in done.lines)
    assert json.loads((target / "imagesTr" / "a.json").read_text()) == {"spacing": [4, 2, 2]}


def test_where_every_component_is_too_small_the_reason_is_told(tmp_path):
    with pytest.raises(InputError, match=r"No image has an object \(the first one dropped: component of foreground at"):
        run(tmp_path, *write_case(tmp_path, two_cubes(3, 1)), min_volume=100)
    assert not list(tmp_path.glob("*Dataset*"))


def raw_data_set(folder: Path, labels: dict, channels: int = 2) -> tuple[Path, Path]:
    mask = two_cubes(3, 2)
    mask[6:, 6:, 6:] = 2
    for part in ("Tr", "Ts"):
        for channel in range(channels):
            values = np.random.default_rng(channel).normal(size=mask.shape).astype(np.float32)
            save(folder / f"images{part}" / f"a_{channel:04d}.nii.gz", values)
    save(folder / "labelsTr" / "a.nii.gz", mask)
    names = {str(channel): f"MR{channel}" for channel in range(channels)}
    description = {"channel_names": names, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder / "imagesTr", folder / "labelsTr"


def test_a_raw_data_set_of_nnunet_with_its_channels_and_names(tmp_path):
    parts = raw_data_set(tmp_path / "Dataset001_A", {"background": 0, "lesion": 1, "scar": 2})
    done, target, description = run(tmp_path, *parts)
    assert description["channel_names"] == {"0": "MR0", "1": "MR1"}
    assert description["labels"] == {"background": 0, "lesion": 1, "scar": 2}
    for channel in range(2):
        name = f"imagesTr/a_{channel:04d}.nii.gz"
        before, after = (nibabel.load(folder / name) for folder in (parts[0].parent, target))
        np.testing.assert_array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
        np.testing.assert_array_equal(before.affine, after.affine)
    assert done.cases == ["a"] and done.volumes and len(objects(target).classes) == 2


def test_some_classes_of_a_raw_data_set(tmp_path):
    parts = raw_data_set(tmp_path / "Dataset001_A", {"background": 0, "liver": 1, "tumour": 2})
    done, target, description = run(tmp_path, *parts, class_names=["tumour"])
    assert description["labels"] == {"background": 0, "tumour": 1} and "label_divisor" not in description
    found = objects(target)
    assert found.ids.sum() == 8 and len(found.classes) == 1
    assert "note       liver became background, because other classes were chosen" in done.lines
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    assert run(renamed, *parts, class_names=["a", "b"])[2]["labels"] == {"background": 0, "a": 1, "b": 2}
    with pytest.raises(InputError, match="gives 1 name, but the masks hold 2 values beside 0: 1, 2"):
        ComponentSource(*parts, ["tumor"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: save(raw / "imagesTr/a_0001.nii.gz", np.zeros((3, 8, 8))), "a_0001.nii.gz has the size 3 × 8 × 8"),
        (lambda raw: (raw / "imagesTr/a_0000.nii.gz").unlink(), r"No mask in .* for a_0001.nii.gz; .* X_0000, X_0001"),
        (lambda raw: (raw / "dataset.json").write_text("{}"), "dataset.json lacks channel_names"),
    ],
)
def test_a_broken_raw_data_set(tmp_path, damage, said):
    parts = raw_data_set(tmp_path / "Dataset001_A", {"background": 0, "lesion": 1, "scar": 2})
    damage(parts[0].parent)
    with pytest.raises(InputError, match=said):
        run(tmp_path, *parts)


def test_regions_are_named_by_their_values(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    parts = raw_data_set(tmp_path / "Dataset001_A", labels)
    path = parts[0].parent / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"regions_class_order": [1, 2]}))
    assert run(tmp_path, *parts)[2]["labels"] == {"background": 0, "class_1": 1, "class_2": 2}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((4, 8, 8), np.nan, np.float32), "masks/a.nii.gz: The mask holds nan"),
        (np.zeros((4, 8, 8), np.uint8), "hold only 0"),
        (np.arange(512, dtype=np.int16).reshape(8, 8, 8), "leave semantic and components out"),
    ],
)
def test_masks_that_are_none(tmp_path, values, said):
    with pytest.raises(InputError, match=said):
        run(tmp_path, *write_case(tmp_path, values))
