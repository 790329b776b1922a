"""Mirroring of real data: one structure cut in two, and deformed copies of a CT with the organs of a whole trunk."""

from functools import cache

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from maskmed_nnu.symmetry.find import find_symmetry
from maskmed_nnu.symmetry.places import class_places

pytestmark = pytest.mark.real_data

ABDOMEN = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "liver",
    6: "stomach",
    7: "pancreas",
    8: "right adrenal gland",
    9: "left adrenal gland",
    15: "esophagus",
    19: "duodenum",
    21: "bladder",
    22: "prostate",
    52: "aorta",
    63: "postcava",
}
VESSELS = {52, 63}


def _read(path):
    """Array with axes to the left, the back and the head, and its spacing."""
    volume = nib.as_closest_canonical(nib.load(path))
    return np.asarray(volume.dataobj)[::-1, ::-1], volume.header.get_zooms()[:3]


def _deform(rng, arrays):
    """Copies of arrays that are turned, stretched and bent alike."""
    shape = np.array(arrays[0].shape)
    middle = (shape[:, None] - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    turn = Rotation.from_euler("xyz", rng.normal(scale=5, size=3), degrees=True).as_matrix()
    points = turn @ (rng.uniform(0.88, 1.12, size=(3, 1)) * (grid - middle)) + middle + rng.normal(scale=3, size=(3, 1))
    for _ in range(6):
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / rng.uniform(25, 70) / np.linalg.norm(wave)
        points += rng.normal(scale=1.2, size=(3, 1)) * np.cos(wave @ grid + rng.uniform(0, 2 * np.pi))
    return [map_coordinates(array, points, order=0).reshape(shape) for array in arrays]


@cache
def _measured(folder):
    organs, spacing = _read(folder / "organs.nii.gz")
    image, _ = _read(folder / "ct.nii.gz")
    rng = np.random.default_rng(0)
    cases = {}
    for i in range(12):
        labels, values = _deform(rng, [organs, image])
        cases[f"case {i}"] = class_places(labels, spacing, image=values[None])
    return cases


@pytest.fixture
def abdomens(real_data):
    return _measured(real_data / "abdomen_ct")


def _only(cases, labels):
    return {case: {k: place for k, place in places.items() if k in labels} for case, places in cases.items()}


def test_an_abdomen_swaps_kidneys_and_adrenals(abdomens):
    symmetry = find_symmetry(_only(abdomens, ABDOMEN), ABDOMEN)
    assert [axis.kind for axis in symmetry.axes] == ["swap", "mirror", "mirror"]
    assert symmetry.axes[0].pairs == ((2, 3), (8, 9))


def test_without_names_an_abdomen_swaps_kidneys(abdomens):
    symmetry = find_symmetry(_only(abdomens, set(ABDOMEN) - {8, 9}), {})
    assert [axis.kind for axis in symmetry.axes] == ["swap", "mirror", "mirror"]
    assert symmetry.axes[0].pairs == ((2, 3),)


def test_unlike_adrenals_without_names_are_undecided(abdomens):
    """This person's left one is half as large again, and each is but some 150 voxels."""
    symmetry = find_symmetry(_only(abdomens, ABDOMEN), {})
    assert [axis.kind for axis in symmetry.axes] == ["none", "mirror", "mirror"]
    assert "8 and 9" in symmetry.axes[0].reason


def test_an_abdomen_without_pairs_is_mirrored(abdomens):
    for labels in (VESSELS, set(ABDOMEN) - {2, 3, 8, 9}):
        assert [axis.kind for axis in find_symmetry(_only(abdomens, labels), {}).axes] == ["mirror"] * 3


def test_vertebrae_of_the_trunk_forbid_to_mirror_along_it(abdomens):
    symmetry = find_symmetry(_only(abdomens, {*ABDOMEN, *range(26, 33)}), ABDOMEN)
    assert [axis.kind for axis in symmetry.axes] == ["swap", "mirror", "none"]


def test_the_hippocampus_is_mirrored(real_data):
    cases = {}
    for path in sorted((real_data / "Dataset004_Hippocampus" / "labelsTr").glob("*.nii.gz")):
        labels, spacing = _read(path)
        cases[path.name] = class_places(labels, spacing)
    symmetry = find_symmetry(cases, {1: "Anterior", 2: "Posterior"})
    assert [axis.kind for axis in symmetry.axes] == ["mirror"] * 3
