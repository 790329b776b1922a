"""Measurements of the classes of one case."""

import numpy as np
import pytest

from maskmed_nnu.symmetry.places import class_places


def _two_boxes(dimension=3):
    labels = np.zeros((40, 30, 20)[:dimension], np.uint8)
    labels[(slice(2, 12), *[slice(4, 10)] * (dimension - 1))] = 7
    labels[(slice(30, 36), *[slice(4, 10)] * (dimension - 1))] = 9
    return labels


@pytest.mark.parametrize("dimension", [2, 3])
def test_centre_and_volume_are_in_mm(dimension):
    spacing = (2.0, 0.5, 3.0)[:dimension]
    places = class_places(_two_boxes(dimension), spacing)
    assert set(places) == {7, 9}
    middle = np.array([6.5, *[6.5] * (dimension - 1)])
    np.testing.assert_allclose(places[7].centre, middle * spacing)
    assert places[7].volume == pytest.approx(10 * 6 ** (dimension - 1) * np.prod(spacing))
    assert places[7].intensity is None
    assert places[7].shape.shape == (7,) * dimension
    assert places[7].shape.sum() == pytest.approx(1)


def test_a_mirrored_map_has_mirrored_shapes():
    rng = np.random.default_rng(0)
    labels = np.zeros((30, 25, 20), np.int16)
    labels[5:25, 5:20, 4:16] = (rng.uniform(size=(20, 15, 12)) > 0.5) * np.arange(20)[:, None, None] // 10
    there, back = class_places(labels, (1, 2, 3)), class_places(labels[::-1], (1, 2, 3))
    np.testing.assert_allclose(there[1].shape, back[1].shape[::-1], atol=0.02)


def test_background_and_other_labels_are_left_out():
    labels = _two_boxes().astype(np.float32)
    labels[20, 20, 10] = -1
    assert set(class_places(labels, (1, 1, 1), classes=[7, 8])) == {7}
    assert class_places(np.zeros((4, 4)), (1, 1)) == {}


def test_large_maps_are_strided_and_measure_the_same():
    labels = _two_boxes()
    large = labels.repeat(16, axis=0)
    there, here = class_places(large, (1 / 16, 1, 1)), class_places(labels, (1, 1, 1))
    np.testing.assert_allclose(there[9].centre, here[9].centre, atol=0.6)
    assert there[9].volume == pytest.approx(here[9].volume, rel=0.1)


def test_brightness_is_in_units_of_the_noise_within_a_class():
    labels = _two_boxes()
    noise = np.random.default_rng(0).normal(size=labels.shape)
    image = np.stack([100 + 20 * noise + 40 * (labels == 7), np.full(labels.shape, 5.0)])
    places = class_places(labels, (1, 1, 1), image=image)
    difference = places[7].intensity - places[9].intensity
    np.testing.assert_allclose(difference, [2, 0], atol=0.3)
