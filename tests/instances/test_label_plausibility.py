"""Lossy and interpolated label maps are found; clean ones of every kind are not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.segmentation import find_boundaries
from skimage.transform import resize, rotate

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.label_plausibility import (
    are_outlines,
    check_lossless,
    implausible_values,
    looks_like_labels,
    measure_steps,
    surrounding_value,
    thin_values,
    wrapped_ids,
)


def discs(count: int, radius: int, size: int = 96) -> np.ndarray:
    """Discs with ids 1 to ``count`` in random places that do not overlap, uint8 [size, size]."""
    rng, ids = np.random.default_rng(0), np.zeros((size, size), np.uint8)
    yy, xx = np.mgrid[:size, :size]
    number = 0
    while number < count:
        y, x = rng.integers(radius + 1, size - radius - 1, 2)
        disc = (yy - y) ** 2 + (xx - x) ** 2 <= radius**2
        if not ids[disc].any():
            number += 1
            ids[disc] = number
    return ids


def mosaic() -> np.ndarray:
    """Cells that touch everywhere, uint8 [96, 96]."""
    points = np.random.default_rng(0).integers(0, 96, (60, 2))
    yy, xx = np.mgrid[:96, :96]
    return (((yy[..., None] - points[:, 0]) ** 2 + (xx[..., None] - points[:, 1]) ** 2).argmin(-1) + 1).astype(np.uint8)


def as_jpeg(values: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


MAPS = {
    "few": discs(8, 6),
    "many small": discs(200, 1),
    "touching": mosaic(),
    "binary": 255 * (discs(8, 6) > 0).astype(np.uint8),
}
SPOILED = {
    "Pillow, bilinear": lambda v: np.asarray(Image.fromarray(v).resize((150, 150), Image.BILINEAR)),
    "Pillow, bicubic, half": lambda v: np.asarray(Image.fromarray(v).resize((48, 48), Image.BICUBIC)),
    "scipy's default spline": lambda v: ndimage.zoom(v, 1.3),
    "skimage": lambda v: resize(v, (180, 180), preserve_range=True).astype(np.uint16),
    "rotated": lambda v: rotate(v, 20, order=1, preserve_range=True).astype(np.uint8),
    "JPEG": lambda v: as_jpeg(v, 75),
    "JPEG of high quality": lambda v: as_jpeg(v, 95),
}


@pytest.mark.parametrize("semantic", [False, True])
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=list(SPOILED))
@pytest.mark.parametrize("clean", MAPS.values(), ids=list(MAPS))
def test_interpolated_and_lossy_maps_are_found_and_their_originals_are_not(clean, spoil, semantic):
    assert implausible_values(clean, semantic=semantic) is None
    assert implausible_values(np.kron(clean, np.ones((2, 2), np.uint8)), semantic=semantic) is None
    said = implausible_values(spoil(clean), semantic=semantic)
    assert said and ("nearest neighbour" in said or "holds an image" in said)


def test_a_stack_interpolated_between_its_slices_is_found():
    stack = np.stack([np.roll(discs(8, 6), 3 * z, axis=1) for z in range(6)]) * np.uint8(20)
    assert implausible_values(stack, semantic=False) is None
    assert implausible_values(ndimage.zoom(stack, (2, 1, 1), order=1), semantic=False)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_stack_numbered_in_each_slice_anew_is_legal(axis):
    """Or one of objects as thin as a slice: along the slices their ids rise and fall by chance."""
    rng = np.random.default_rng(0)
    slices = [ndimage.zoom(rng.permutation(36).reshape(6, 6), 10, order=0) + 36 * n for n in range(8)]
    stack = np.moveaxis(np.stack(slices), 0, axis)
    assert implausible_values(stack, semantic=False) is None and looks_like_labels(stack)
    assert implausible_values(np.stack([ndimage.zoom(part, 1.5, order=1) for part in slices]), semantic=False)


def test_thin_structures_are_legal_classes():
    layers = np.repeat(np.arange(8, dtype=np.uint8), [20, 2, 3, 2, 2, 4, 3, 20])[:, None].repeat(64, axis=1)
    lines = np.where(find_boundaries(mosaic()), 2, mosaic() % 2 * 3).astype(
        np.uint8
    )  # a class of one pixel between two
    rings = np.where(discs(8, 6) > 0, 2, 0) - (find_boundaries(discs(8, 6), mode="inner")).astype(int)
    for values in (layers, lines, rings):
        assert implausible_values(values, semantic=True) is None


def test_pictures_are_told_from_label_maps():
    picture = np.random.default_rng(0).integers(0, 250, (64, 64))
    assert "holds an image" in implausible_values(picture, semantic=True)
    assert looks_like_labels(mosaic()) and not looks_like_labels(picture) and not looks_like_labels(picture * 0)


def test_steps_are_counted_along_every_axis():
    steps = measure_steps(np.array([[0, 0, 5, 9], [0, 0, 0, 9]], np.uint8))
    assert (steps.share, steps.between, steps.between_share, steps.values) == (4 / 10, 1, 1 / 4, 1)


@pytest.mark.parametrize(
    ("name", "options"), [("a.jpg", {}), ("a.png", {"format": "JPEG"}), ("a.tif", {"compression": "jpeg"})]
)
def test_a_jpeg_is_refused_whatever_its_ending(tmp_path: Path, name: str, options: dict) -> None:
    path = tmp_path / name
    Image.fromarray(discs(8, 6)).save(path, **options)
    with pytest.raises(InputError, match="JPEG.* not a label map: .* as PNG or TIFF"):
        check_lossless(path)
    tifffile.imwrite(tmp_path / "b.tif", discs(8, 6), compression="zlib")
    check_lossless(tmp_path / "b.tif")


@pytest.mark.parametrize(("count", "wrapped"), [(255, False), (262, True), (400, True), (700, True)])
def test_ids_that_wrapped(count: int, wrapped: bool) -> None:
    ids = np.zeros((120, 120), np.int64)
    ids[1::4, 1::4].flat[:count] = np.arange(1, count + 1)
    ids[2::4, 1::4].flat[:count] = np.arange(1, count + 1)
    assert wrapped_ids(ids) is None
    assert (wrapped_ids(ids.astype(np.uint8)) is not None) == wrapped


def test_values_that_are_lines_and_specks_only() -> None:
    values = np.kron(discs(3, 6, 30), np.ones((2, 2), np.uint8)) * 50
    values[::20, ::20], values[5, :] = 7, 9
    assert thin_values(values) == (7, 9)


def test_background_that_is_not_0_and_outlines() -> None:
    ids = discs(8, 6)
    assert surrounding_value(np.where(ids == 0, 255, ids)[None]) == 255
    assert surrounding_value(ids[None]) == surrounding_value(mosaic()[None]) == 0
    assert are_outlines(np.where(find_boundaries(ids, mode="inner"), ids, 0)) and not are_outlines(ids)
