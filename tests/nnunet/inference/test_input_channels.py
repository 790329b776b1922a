"""Channels of a file as the model wants them."""

from __future__ import annotations

import numpy as np
import pytest

from maskmed_nnu.nnunet.inference.input_channels import fit_channels

GREY, COLOUR = ["grey"], ["R", "G", "B"]
RNG = np.random.default_rng(0)
PLANE = RNG.random((1, 1, 4, 5), dtype=np.float32)
PICTURE = RNG.random((3, 1, 4, 5), dtype=np.float32)
FLAT = {"spacing": (999, 1, 1)}


@pytest.mark.parametrize(
    ("data", "names", "expected"),
    [
        (PLANE, GREY, PLANE),
        (np.concatenate([PLANE, np.ones_like(PLANE)]), GREY, PLANE),
        (np.concatenate([PLANE] * 3), GREY, PLANE),
        (np.concatenate([PICTURE, PLANE]), COLOUR, PICTURE),
        (PLANE, COLOUR, np.concatenate([PLANE] * 3)),
        (PICTURE, GREY, PICTURE),  # refused later
        (PLANE, ["channel 0", "channel 1", "channel 2"], PLANE),
        (np.concatenate([PICTURE, PLANE]), ["a", "b"], np.concatenate([PICTURE, PLANE])),
    ],
)
def test_what_convert_would_have_made_of_it(data: np.ndarray, names: list[str], expected: np.ndarray) -> None:
    fitted, properties = fit_channels(data, FLAT, names)
    np.testing.assert_array_equal(fitted, expected)
    assert properties == FLAT


def test_pages_are_channels_for_a_model_of_as_many() -> None:
    pages = PICTURE.transpose(1, 0, 2, 3)
    fitted, properties = fit_channels(pages, {"spacing": (1, 1, 1), "pages_not_told": True}, ["a", "b", "c"])
    np.testing.assert_array_equal(fitted, PICTURE)
    assert properties == FLAT
    slices = {"spacing": (1, 1, 1)}  # as the file says
    assert fit_channels(pages, slices, ["a", "b", "c"])[0] is pages
