"""What the plugin gives a model of a layer, and where it puts labels."""

from __future__ import annotations

import doctest
from itertools import product

import numpy as np
import pytest

from maskmed_nnu.errors import InputError
from maskmed_nnu.napari_plugin import layer_axes as axes_module
from maskmed_nnu.napari_plugin.layer_axes import layer_axes
from maskmed_nnu.napari_plugin.layer_image import layer_image
from tests.napari_plugin.fake_layers import MM, PIXEL, SECOND, UM, fake_layer, fake_reader, linear, world


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


AXES = [
    # shape, rgb, labels, told, channels, volumes: axes
    ((9, 9), False, None, None, 1, False, "YX"),
    ((5, 9, 9), False, None, None, 1, False, "ZYX"),
    ((5, 9, 9), False, None, None, 1, True, "ZYX"),
    ((2, 9, 9), False, None, None, 2, False, "CYX"),
    ((2, 5, 9, 9), False, None, None, 2, True, "CZYX"),
    ((4, 5, 9, 9), False, None, None, 1, True, "TZYX"),
    ((1, 2, 5, 9, 9), False, None, None, 2, True, "TCZYX"),
    ((9, 9, 3), True, None, None, 3, False, "YXC"),
    ((5, 9, 9, 4), True, None, None, 3, False, "ZYXC"),
    ((5, 2, 9, 9), False, ("z", "c", "y", "x"), None, 2, True, "ZCYX"),
    ((5, 2, 9, 9), False, ("Time", "Channel", "Y", "X"), None, 2, False, "TCYX"),
    ((2, 5, 9, 9), False, ("a", "b", "y", "x"), None, 2, True, "CZYX"),  # names that say nothing
    ((5, 9, 9), False, ("z", "c", "x"), None, 1, False, "ZYX"),
    ((5, 2, 9, 9), False, ("c", "z", "y", "x"), "zcyx", 2, True, "ZCYX"),
    ((9, 9, 3), True, None, "YX", 3, False, "YXC"),
    ((9, 9, 3), True, None, "yxc", 3, False, "YXC"),
]


@pytest.mark.parametrize("shape, rgb, labels, told, channels, volumes, expected", AXES)
def test_what_axes_are(shape, rgb, labels, told, channels, volumes, expected):
    layer = fake_layer(np.zeros(shape), rgb=rgb, **({"axis_labels": labels} if labels else {}))
    assert layer_axes(layer, channels=channels, volumes=volumes, told=told) == expected


@pytest.mark.parametrize("told", ["YY", "ZX", "ZYX", "QY", "Y"])
def test_letters_that_name_no_axes(told):
    with pytest.raises(InputError, match=rf"'{told}' does not name the axes of layer CT, whose shape is 9 × 8; give"):
        layer_axes(fake_layer(np.zeros((9, 8))), channels=1, volumes=False, told=told)


def test_too_many_axes():
    with pytest.raises(InputError, match="Layer CT has 6 axes .* give a letter for each: T"):
        layer_axes(fake_layer(np.zeros((1, 1, 1, 1, 5, 5))), channels=1, volumes=False)


def turned(letters: str, seed: int = 0) -> dict:
    """A place in which Z, Y and X are turned, sheared and moved, and other axes keep to themselves."""
    draw = np.random.default_rng(seed)
    n, inner = len(letters), [axis for axis, letter in enumerate(letters) if letter in "ZYX"]
    rotate, shear, affine = np.eye(n), np.eye(n), np.eye(n + 1)
    rotate[np.ix_(inner, inner)] = np.linalg.qr(draw.normal(size=(len(inner),) * 2))[0]
    shear[np.ix_(inner, inner)] = np.eye(len(inner)) + np.triu(draw.normal(size=(len(inner),) * 2), 1) / 5
    affine[np.ix_(inner, inner)] = np.linalg.qr(draw.normal(size=(len(inner),) * 2))[0]
    affine[:-1, -1] = draw.normal(size=n) * 10
    return {
        "scale": draw.uniform(0.2, 3, n),
        "translate": draw.normal(size=n) * 20,
        "rotate": rotate,
        "shear": shear[np.triu_indices(n, 1)],
        "affine": affine,
        "units": (UM,) * n,
        "axis_labels": tuple(letters.lower()),
    }


PLACES = [
    ("YX", 1, False),
    ("ZYX", 1, True),
    ("CYX", 2, False),
    ("CZYX", 2, True),
    ("ZCYX", 2, True),
    ("ZYXC", 2, True),
    ("YCX", 2, False),
    ("TCZYX", 2, True),
    ("TZCYX", 2, True),
    ("TYX", 1, False),
    ("CTYX", 2, False),
    ("XYZ", 1, True),
]


@pytest.mark.parametrize("letters, channels, volumes", PLACES)
def test_labels_lie_where_the_image_lies(letters, channels, volumes):
    """Each voxel of the prediction, seen in any of the channels, is the voxel that the image has there."""
    sizes = {"T": 1 if "Z" in letters else 4, "C": channels, "Z": 3, "Y": 5, "X": 6}
    data = numbered(*(sizes[letter] for letter in letters))
    layer = fake_layer(data, **turned(letters))
    given = layer_image([layer], fake_reader(("a", "b")[:channels], volumes=volumes))
    spatial = given.axes[1:]
    assert given.array.shape == (channels, *(given.array.shape[1:]))
    labels = given.placement.data(given.array[0])
    place = given.placement.arguments
    kept = labels.ndim
    assert {len(place[name]) for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels")} == {kept}
    assert place["axis_labels"] == tuple(letters.lower())[-kept:] and set(place["units"]) == {UM}
    if letters in ("CYX", "CZYX", "TCZYX"):
        assert kept == len(spatial), "the channel axis is left out"
    inverse = np.linalg.inv(linear(place))
    affine = place["affine"]
    for index in product(*(range(size) for size in data.shape)):
        where = world(vars(layer), index)[-kept:]
        back = inverse @ (np.linalg.inv(affine[:-1, :-1]) @ (where - affine[:-1, -1]) - place["translate"])
        voxel = tuple(np.rint(back).astype(int))
        channel = index[letters.index("C")] if "C" in letters else 0
        assert all(0 <= at < size for at, size in zip(voxel, labels.shape, strict=True))
        chosen = tuple(at for axis, at in enumerate(voxel) if axis not in given.placement.added)
        assert given.array[(channel, *chosen)] == data[index]


@pytest.mark.parametrize("part", ["rotate", "shear", "affine"])
def test_a_channel_axis_that_is_turned_into_space_is_refused(part):
    matrix = np.eye(5 if part == "affine" else 4)
    matrix[0, 2] = 0.3
    layer = fake_layer(np.zeros((2, 3, 4, 5)), **{part: matrix})
    with pytest.raises(InputError, match="The position of layer CT mixes its axis 0 with those that are segmented"):
        layer_image([layer], fake_reader(("a", "b"), volumes=True))


SPACINGS = [
    # scale, units, planned (None: in pixels), volumes: spacing, note
    ((3, 0.5, 0.4), (MM,) * 3, [3, 1, 1], True, (3, 0.5, 0.4), False),
    ((3, 0.5, 0.4), (UM,) * 3, [3, 1, 1], True, (0.003, 0.0005, 0.0004), False),
    ((3, 500, 0.4), (MM, UM, MM), [3, 1, 1], True, (3, 0.5, 0.4), False),
    ((-3, 0.5, -0.4), (MM,) * 3, [3, 1, 1], True, (3, 0.5, 0.4), False),
    ((3, 0.5, 0.4), (PIXEL,) * 3, [3, 1, 1], True, (3, 0.5, 0.4), True),
    ((1, 1, 1), (PIXEL,) * 3, [1, 1, 1], True, (1, 1, 1), True),
    ((3, 0.5, 0.4), (PIXEL,) * 3, None, True, None, False),
    ((3, 0.5, 0.4), (UM,) * 3, None, True, (0.003, 0.0005, 0.0004), False),
    ((7, 0.5, 0.4), (SECOND, MM, MM), [3, 1, 1], False, (7, 0.5, 0.4), False),
    ((7, 0.5, 0.4), (SECOND, MM, MM), [3, 1, 1], True, (7, 0.5, 0.4), True),
]


@pytest.mark.parametrize("scale, units, planned, volumes, expected, noted", SPACINGS)
def test_the_scale_is_the_spacing(scale, units, planned, volumes, expected, noted):
    layer = fake_layer(np.zeros((3, 4, 5)), scale=np.array(scale, float), units=units)
    given = layer_image([layer], fake_reader(volumes=volumes, planned=planned))
    assert given.spacing == (None if expected is None else pytest.approx(expected))
    assert bool(given.notes) == noted
    assert not noted or "has no units of length: its scale" in given.notes[0]


def test_the_spacing_of_channels_is_none():
    layer = fake_layer(np.zeros((2, 3, 4, 5)), scale=np.array([9, 3, 0.5, 0.4]), units=(PIXEL, MM, MM, MM))
    given = layer_image([layer], fake_reader(("a", "b"), volumes=True, planned=[3, 1, 1]))
    assert given.spacing == pytest.approx((3, 0.5, 0.4)) and not given.notes


def test_an_affine_that_holds_the_scale():
    affine = np.diag([3, 0.5, 0.4, 1])[[0, 2, 1, 3]]
    layer = fake_layer(np.zeros((3, 4, 5)), affine=affine, units=(MM,) * 3)
    given = layer_image([layer], fake_reader(volumes=True, planned=[3, 1, 1]))
    assert given.spacing == pytest.approx((3, 0.5, 0.4))


def test_units_of_some_axes_are_refused():
    layer = fake_layer(np.zeros((3, 4, 5)), scale=(2, 0.5, 0.5), units=(PIXEL, UM, UM))
    with pytest.raises(InputError, match="Layer CT has units of length along only some of its axes; set them for all"):
        layer_image([layer], fake_reader(volumes=True, planned=[2, 0.5, 0.5]))
    assert layer_image([layer], fake_reader(volumes=True)).spacing is None


def test_pixels_for_a_model_of_millimetres_are_refused():
    with pytest.raises(InputError, match="Layer CT has neither scale nor units, .* of about 3 × 0.8 × 0.8 mm; set"):
        layer_image([fake_layer(np.zeros((3, 4, 5)))], fake_reader(volumes=True, planned=[3, 0.8, 0.8]))


@pytest.mark.parametrize("shape, volumes", [((4, 3, 5, 5), True), ((4, 3, 5, 5), False), ((4, 5, 5), True)])
def test_time_series_are_refused_where_frames_are_no_slices(shape, volumes):
    layer = fake_layer(
        np.zeros(shape), axis_labels=("t", "z", "y", "x")[-len(shape) :] if len(shape) > 3 else tuple("tyx")
    )
    with pytest.raises(InputError, match="has 4 frames or channels along its axis 0, .* Split Stack"):
        layer_image([layer], fake_reader(volumes=volumes))


class Lazy:
    """As dask's and zarr's arrays: a shape, pieces, and a way to NumPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.array = array.shape, array

    def __getitem__(self, key):
        return Lazy(self.array[key])

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_lazy_layers_and_those_of_several_resolutions():
    data = numbered(1, 3, 8, 8)
    for layer in (fake_layer(Lazy(data)), fake_layer([Lazy(data), Lazy(data[..., ::2, ::2])], multiscale=True)):
        given = layer_image([layer], fake_reader(volumes=True))
        np.testing.assert_array_equal(given.array, data)
        assert given.axes == "CZYX" and len(given.placement.arguments["scale"]) == 3


def test_colours():
    picture = np.random.default_rng(0).integers(0, 255, (6, 7, 4), dtype=np.uint8)
    colours = fake_reader(("R", "G", "B"))
    given = layer_image([fake_layer(picture, rgb=True)], colours)
    np.testing.assert_array_equal(given.array, picture[..., :3].transpose(2, 0, 1))
    assert given.axes == "CYX" and len(given.placement.arguments["scale"]) == 2
    grey = np.repeat(picture[..., :1], 3, -1)
    assert layer_image([fake_layer(grey, rgb=True)], fake_reader()).array.shape == (1, 6, 7)
    assert layer_image([fake_layer(picture[..., 0])], colours).array.shape == (3, 6, 7)


def test_channels_in_layers_of_their_own():
    first, second = numbered(3, 4, 5), numbered(3, 4, 5) + 100
    reader = fake_reader(("R", "G", "B")[:2], volumes=True)
    given = layer_image([fake_layer(first), fake_layer(second)], reader)
    np.testing.assert_array_equal(given.array, [first, second])
    assert given.axes == "CZYX"
    for other in (fake_layer(second[:2], name="PET"), fake_layer(second, name="PET", translate=np.array([0, 1, 0]))):
        with pytest.raises(InputError, match="The layers CT and PET are not on one grid"):
            layer_image([fake_layer(first), other], reader)


def test_examples():
    assert doctest.testmod(axes_module) == (0, 2)
