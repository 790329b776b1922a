"""The comparison of volumes: the halves of the real one share no nucleus, and scores are counted in 3D."""

from __future__ import annotations

from pathlib import Path

import compare_volumes
import nuclei3d
import numpy as np
import pytest
import tifffile

SPACING = (1.0, 1.0, 1.0)


def scene() -> np.ndarray:
    """Eight cubes in a volume of 8 × 24 × 24, some of which reach over the middle of the rows."""
    ids = np.zeros((8, 24, 24), np.uint16)
    for number, (y, x) in enumerate([(1, 2), (1, 10), (9, 2), (10, 10), (9, 18), (18, 2), (16, 10), (20, 18)], 1):
        ids[2:6, y : y + 4 + 4 * (number == 3), x : x + 5] = number
    return ids


def test_the_halves_of_the_real_volume_share_no_nucleus_that_counts(tmp_path):
    ids = scene()
    for name, values in (("img", 100 * ids), ("mask", ids)):
        tifffile.imwrite(tmp_path / f"{name}3d.tif", values)
    assert nuclei3d.halve(tmp_path / "out", tmp_path) == 1
    first, second = (compare_volumes.array(tmp_path / "out" / "masks" / f"half_{n}.nii.gz") for n in range(2))
    assert first.shape[1] + second.shape[1] == ids.shape[1] - nuclei3d.GAP
    both = np.intersect1d(first, second)
    assert both.tolist() == [0] and first.any() and second.any()
    ignored = compare_volumes.array(tmp_path / "out" / "ignored" / "half_1.nii.gz")
    whole = ids[:, -second.shape[1] :]
    np.testing.assert_array_equal(np.where(ignored, 0, whole), second)
    assert set(np.unique(whole[ignored > 0])) == {3}  # the only one that is longer than the gap


def test_the_drawn_volumes_tell_their_spacing_and_depend_on_the_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(nuclei3d, "SHAPE", (20, 32, 32))
    for seed in range(2):
        assert nuclei3d.draw(tmp_path / str(seed), 5, training=1, test=1, seed=seed) == 1
    paths = [tmp_path / str(seed) / "images" / f"nuclei_0{case}.nii.gz" for seed in range(2) for case in range(2)]
    volumes = [compare_volumes.array(path) for path in paths]
    assert all(volume.shape == (4, 32, 32) for volume in volumes)
    assert all((a != b).any() for i, a in enumerate(volumes) for b in volumes[:i])
    assert compare_volumes.nibabel.load(paths[0]).header.get_zooms() == (1, 1, 5)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    raw = tmp_path / "nnUNet_raw" / compare_volumes.OBJECTS[1]
    nuclei3d.save(raw, "a", SPACING, labelsTs=scene())
    return tmp_path


def save(folder: Path, label_map: np.ndarray, **kept: np.ndarray) -> None:
    nuclei3d.save(folder.parent, "a", SPACING, **{folder.name: label_map})
    if kept:
        np.savez(folder / "a.npz", **kept)


def test_a_perfect_prediction_in_every_form(work):
    from maskmed_nnu.instances.detections import from_instance_map, pack

    ids = scene()
    save(work / "maps", ids)
    save(work / "stardist", 0 * ids, ids=ids, scores=np.linspace(1, 0.5, 8))
    turned = from_instance_map(ids.transpose(2, 0, 1)[None].astype(np.int32), np.ones(8, np.int64))
    save(work / "ours", ids, detections=pack([turned]))
    for folder, plans in (("maps", {}), ("stardist", {}), ("ours", {"transpose_forward": [2, 0, 1]})):
        scores = compare_volumes.score(work, work / folder, plans)
        assert all(value == pytest.approx(1) for value in scores.values()), folder


def test_scores_order_the_objects_and_slices_are_not_counted_one_by_one(work):
    ids = scene()
    one = ids == 1
    for z in range(3, 6):  # one object in a piece for each slice
        ids[z][one[z]] = 7 + z
    save(work / "maps", ids)
    assert compare_volumes.score(work, work / "maps", {})["F1@0.5"] == pytest.approx(2 * 7 / (8 + 11))
    ids, wrong = scene(), scene()
    wrong[0, 20:, :4] = 9
    found = []
    for score_of_wrong in (0.1, 0.9):
        scores = np.array([0.5] * 8 + [score_of_wrong])
        save(work / "stardist", 0 * ids, ids=wrong, scores=scores)
        found.append(compare_volumes.score(work, work / "stardist", {})["AP50"])
    assert found[0] == pytest.approx(1) and found[1] < 0.95


def test_ignored_nuclei_are_neither_found_nor_invented(work):
    ids = scene()
    truth = np.where(ids == 8, 0, ids)
    nuclei3d.save(work / "nnUNet_raw" / compare_volumes.OBJECTS[1], "a", SPACING, labelsTs=truth)
    save(work / "maps", ids)
    assert compare_volumes.score(work, work / "maps", {})["F1@0.5"] < 1
    nuclei3d.save(work / "source", "a", SPACING, ignored=(ids == 8).astype(np.uint8))
    assert compare_volumes.score(work, work / "maps", {})["F1@0.5"] == 1
