"""What planning finds about mirroring where images are, or are not, stored in the same orientation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.conversion.reorient import reorient
from maskmed_nnu.nnunet.experiment_planning.mirroring_rules import FoundMirroring, find_mirroring, section_for

NAMES = {"background": 0, "first": 1, "second": 2, "third": 3}  # that tell no side
PAIR = [[1, 2]]


def data_set(raw: Path, codes: Sequence[str], *, placed_labels: bool = True) -> Path:
    """Bodies with two partners, which each case stores as its code says."""
    folder = raw / "Dataset005_G"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for i, code in enumerate(codes):
        rng = np.random.default_rng(i)
        labels = np.zeros((24, 20, 16), np.uint8)
        for value, x in ((1, 4), (2, 16)):
            y, z = rng.integers(3, 6, 2)
            labels[x : x + 4, y : y + 4, z : z + 4] = value
        labels[10:14, 12:17, 5:12] = 3
        turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(code))
        for name, values in (("imagesTr/{}_0000", 100 * (labels > 0).astype(np.int16)), ("labelsTr/{}", labels)):
            volume = nibabel.Nifti1Image(values, np.eye(4)).as_reoriented(turn)
            if values is labels and not placed_labels:
                volume = nibabel.Nifti1Image(np.asarray(volume.dataobj), None)
            nibabel.save(volume, folder / (name.format(f"c{i:02}") + ".nii.gz"))
    description = {"channel_names": {"0": "MR"}, "labels": NAMES, "numTraining": len(codes), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def found_in(folder: Path) -> FoundMirroring:
    return find_mirroring(folder.name, json.loads((folder / "dataset.json").read_text()))


def test_labels_that_do_not_say_how_they_lie_are_stored_as_their_images(nnunet_env):
    found = found_in(data_set(nnunet_env.raw, ["PIR"] * 12, placed_labels=False))
    assert found.orientations == {"PIR": 12}
    assert section_for(found, (0, 1, 2), 3)["swap"] == {"0": PAIR}  # z, y, x run to R, I and P


@pytest.mark.parametrize("placed_labels", [True, False])
def test_partners_found_by_their_places_make_mixed_images_an_error(nnunet_env, placed_labels):
    folder = data_set(nnunet_env.raw, ["LPS"] * 9 + ["RAS"] * 3, placed_labels=placed_labels)
    with pytest.raises(
        InputError, match=r"3 are RAS \(c09_0000\.nii\.gz.*but first and second are distinguished by .*--r"
    ):
        found_in(folder)


def test_turned_images_of_any_orientation_are_planned(nnunet_env):
    folder = data_set(nnunet_env.raw, ["LPS"] * 8 + ["RAS", "RAI", "PIR", "ASL"])
    turned = nnunet_env.raw / "Dataset006_Turned"
    reorient(folder, turned, "LPS")
    found = found_in(turned)
    assert found.orientations == {"LPS": 12}
    assert section_for(found, (0, 1, 2), 3)["swap"] == {"2": PAIR}
