"""The generated lesions: of varied size, and counted as objects."""

from __future__ import annotations

import doctest

import numpy as np
from scipy.ndimage import label

from maskmed_nnu.demo import lesions
from maskmed_nnu.demo.lesions import count_lesions, make_volume


def test_few_lesions_of_varied_size():
    masks = [make_volume(np.random.default_rng([0, index]), lesions=4)[1] for index in range(6)]
    sizes = np.concatenate([np.bincount(label(mask)[0].ravel())[1:] for mask in masks])
    assert sizes.max() > 8 * sizes.min() > 0
    assert not make_volume(np.random.default_rng(0), lesions=0)[1].any()


def test_found_missed_and_invented():
    truth, found = np.zeros((2, 4, 9, 9), int)
    truth[1, 1:3, 1:3] = truth[2, 6, 6] = truth[1, 7, 1] = 1
    found[1, 2, 2] = found[0, 0, 8] = found[2, 6, 6] = 1
    assert count_lesions(truth, found) == (2, 1, 1)
    assert count_lesions(truth, truth) == (3, 0, 0)


def test_the_example():
    assert doctest.testmod(lesions).failed == 0
