from __future__ import annotations

import filecmp

import bodies
import numpy as np
import pytest
import SimpleITK as sitk

from maskmed_nnu.json_file import read_json


@pytest.fixture(scope="module")
def patients():
    return [bodies.make_body(np.random.default_rng(number), oblique=number % 3 == 0) for number in range(8)]


def voxels(patients, value):
    return np.array([np.count_nonzero(body.label == value) for body in patients])


def test_every_class_is_in_every_body(patients):
    for value in range(1, 17):
        assert voxels(patients, value).min() > 20, value


def test_partners_look_alike_and_lie_on_the_two_sides(patients):
    for left, right in ((1, 2), (3, 4), (5, 6), (7, 8)):
        assert voxels(patients, left).mean() == pytest.approx(voxels(patients, right).mean(), rel=0.2)
        for body in patients:
            assert np.nonzero(body.label == left)[2].mean() > np.nonzero(body.label == right)[2].mean()
            greys = [np.median(body.image[body.label == value]) for value in (left, right)]
            assert greys[0] == pytest.approx(greys[1], abs=10)


def test_vertebrae_are_a_chain_of_alike_ones(patients):
    assert np.ptp([voxels(patients, value).mean() for value in range(9, 15)]) < 15
    for body in patients:
        heights = [np.nonzero(body.label == value)[0].mean() for value in range(9, 15)]
        assert np.diff(heights).min() > 3


def test_decoys_have_the_grey_values_of_organs(patients, monkeypatch):
    monkeypatch.setattr(bodies, "DECOYS", 0)
    without = [bodies.make_body(np.random.default_rng(number)) for number in range(len(patients))]
    for low, high in ((70, 100), (110, 135), (145, 175)):
        unlabelled = [
            sum(np.count_nonzero((body.image > low) & (body.image < high) & (body.label == 0)) for body in drawn)
            for drawn in (patients, without)
        ]
        assert unlabelled[0] > 1.5 * unlabelled[1]


def test_the_data_set_is_the_same_each_time_and_of_one_orientation(tmp_path):
    first, second = (bodies.write_bodies(tmp_path / name, training=3, unseen=1) for name in "ab")
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert len(files) == 2 * 4 + 1
    assert filecmp.cmpfiles(first, second, files, shallow=False)[0] == files
    labels = [sitk.ReadImage(str(first / file)) for file in files if file.parts[0] == "labelsTr"]
    directions = np.reshape([volume.GetDirection() for volume in labels], (-1, 3, 3))
    assert (np.abs(directions).argmax(axis=1) == [0, 1, 2]).all()
    assert (np.diagonal(directions, axis1=1, axis2=2) > 0.9).all()
    assert (directions != np.eye(3)).any(axis=(1, 2)).sum() == 1
    assert read_json(first / "dataset.json", expected="a dataset.json")["numTraining"] == 4


def test_no_name_tells_a_side():
    for name in bodies.LABELS:
        assert name == "background" or name.startswith("structure ")


def test_a_data_set_is_not_written_twice(tmp_path):
    bodies.write_bodies(tmp_path, training=1, unseen=1)
    with pytest.raises(SystemExit, match="is there already"):
        bodies.write_bodies(tmp_path, training=1, unseen=1)
