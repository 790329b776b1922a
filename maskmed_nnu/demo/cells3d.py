"""Stacks of touching nuclei, drawn, not photographed: irregular outlines, slices farther apart than pixels, noise.

A nucleus is an ellipsoid that is bent and bumpy, so that most are not convex and some not star-convex; most touch
others, and share a face without a gap. What the microscope does follows: a point spread that is long across the slices,
light that is uneven and fades with depth, photons that are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label

DATASET = "Dataset903_Cells3D"
IMAGES, MASKS = "images", "masks"
SHAPE = (36, 64, 64)
"""Of the space that is drawn, in pixels of a slice."""
ANISOTROPY = 2
TRAINING, TEST = 16, 4
NUCLEI = (25 / 460_800, 50 / 460_800)
"""For each voxel of the space."""
RADIUS = (6.0, 9.0)
PIXEL = 0.5
"""Micrometres."""
BUMPS = 0.16
"""Of the radius: the standard deviation of the outline."""
MOST_BENT = 1.6
"""By how many of its short radii the ends of a nucleus are off its middle, at most."""
TOUCHING = 0.8
"""Share of the nuclei that are placed beside another one."""
SMALLEST = 250
"""Voxels of the space: what is less of a nucleus, beyond the border or behind its neighbours, is not drawn."""
BLUR = (2.2, 0.9, 0.9)
PHOTONS = 80
Points = NDArray[np.float64]


class Stack(NamedTuple):
    """``image`` uint16 and ``ids`` uint16 ``[z, y, x]``."""

    image: NDArray[np.uint16]
    ids: NDArray[np.uint16]


def draw_stack(rng: np.random.Generator, *, anisotropy: int = ANISOTROPY, shape: tuple[int, int, int] = SHAPE) -> Stack:
    """One stack whose slices are ``anisotropy`` pixels apart."""
    depth: Points = np.zeros(shape)
    owner: NDArray[np.uint16] = np.zeros(shape, np.uint16)
    for number, (centre, radius) in enumerate(_places(rng, shape), 1):
        box, inside = _nucleus(rng, shape, centre, radius)
        deeper = inside > depth[box]
        depth[box][deeper], owner[box][deeper] = inside[deeper], number
    owner = _whole(owner)
    brightness = rng.uniform(0.5, 1.3, owner.max() + 1)
    chromatin = 1 + 0.3 * _noise(rng, shape, 1.5)
    light = (owner > 0) * brightness[owner] * chromatin * (0.7 + 0.3 * np.sqrt(depth))
    lamp = 1 + 0.25 * _noise(rng, shape, 30) - 0.35 * np.linspace(0, 1, shape[0])[:, None, None]
    light = gaussian_filter((0.12 + light) * lamp.clip(0.3), BLUR)
    middle = slice(anisotropy // 2, None, anisotropy)
    counted = rng.poisson(PHOTONS * light[middle].clip(0)) + rng.normal(12, 3, light[middle].shape)
    return Stack((10 * counted).clip(0, 65535).astype(np.uint16), _renumbered(owner[middle]))


def write_stacks(
    folder: Path,
    *,
    training: int = TRAINING,
    test: int = TEST,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write ImageJ's stacks to ``images`` and their ids to ``masks``, the last `test` by name for testing.

    The same `seed` gives the same files.
    """
    for index in range(training + test):
        stack, name = draw_stack(np.random.default_rng([seed, index])), f"cells_{index:02d}.tif"
        metadata = {"axes": "ZYX", "unit": "um", "spacing": ANISOTROPY * PIXEL}
        for part, values in ((IMAGES, stack.image), (MASKS, stack.ids)):
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, values, imagej=True, resolution=(1 / PIXEL, 1 / PIXEL), metadata=metadata)
        report(f"  {name}  {stack.ids.max()} nuclei in {len(stack.ids)} slices")


def _places(rng: np.random.Generator, shape: tuple[int, int, int]) -> list[tuple[Points, float]]:
    """Centres and radii: most nuclei touch another one, none is inside another."""
    places: list[tuple[Points, float]] = []
    fewest, most = (round(density * np.prod(shape)) for density in NUCLEI)
    wanted = rng.integers(fewest, most, endpoint=True)
    for _ in range(40 * wanted):
        radius = rng.uniform(*RADIUS)
        centre = rng.uniform(0, shape)
        if places and rng.random() < TOUCHING:
            beside, reach = places[rng.integers(len(places))]
            direction = rng.normal(size=3)
            centre = beside + direction / np.linalg.norm(direction) * (radius + reach) * rng.uniform(0.85, 1.0)
        apart = [np.linalg.norm(centre - other) / (radius + reach) for other, reach in places]
        if min(apart, default=1.0) > 0.83 and (centre >= 0).all() and (centre < shape).all() and len(places) < wanted:
            places.append((centre, radius))
    return places


def _nucleus(
    rng: np.random.Generator, shape: tuple[int, int, int], centre: Points, radius: float
) -> tuple[tuple[slice, ...], Points]:
    """A box of the space, and how far inside the nucleus each voxel lies: 1 in its middle, 0 at and beyond its border.

    It is bent along a parabola, and its outline goes in and out by smooth noise.
    """
    reach = int(np.ceil(2.2 * radius))
    lowest = np.floor(centre).astype(int) - reach
    size = 2 * reach + 1
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    long = rng.uniform(0.9, 1.6)
    axes = radius * np.array([long**-0.5, long, long**-0.5]) * rng.uniform(0.9, 1.1, 3)
    points = (np.indices((size,) * 3).reshape(3, -1).T + lowest - centre) @ turn / axes
    points[:, 0] += rng.uniform(0, MOST_BENT) * (np.square(points[:, 1]) - 0.3)
    distance = np.linalg.norm(points, axis=1).reshape((size,) * 3) + BUMPS * _noise(rng, (size,) * 3, radius / 3)
    start, stop = np.maximum(lowest, 0), np.minimum(lowest + size, shape)
    box = tuple(map(slice, start.tolist(), stop.tolist()))
    own = tuple(map(slice, (start - lowest).tolist(), (stop - lowest).tolist()))
    return box, (1 - distance[own]).clip(0)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Points:
    """Smooth noise with a mean of 0 and a standard deviation of 1."""
    noise: Points = gaussian_filter(rng.normal(size=shape), scale, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _whole(owner: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Each nucleus as its largest piece, without those of which too little is left."""
    kept = np.zeros_like(owner)
    for number, box in enumerate(find_objects(owner), 1):
        if box is None:
            continue
        pieces, _ = label(owner[box] == number)
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.max() >= SMALLEST:
            kept[box][pieces == np.argmax(sizes) + 1] = number
    return kept


def _renumbered(ids: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.uint16)
