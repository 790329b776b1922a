"""CT-like abdomens, drawn rather than scanned, as an nnU-Net raw data set.

Each case is another patient: organs of random size, place and tilt in a smoothly deformed body, with bowel, stomach, a
vena cava, muscles and bones that carry no label but look like what does. Both kidneys come from one distribution, so
only their place tells them apart, and the Hounsfield units of all organs overlap, so no threshold finds any. The
scanner blurs what it sees, so that voxels at a border hold a bit of both sides; the grid has another spacing in each
case and is oblique in some.

Coordinates are millimetres in the patient's frame, as in DICOM and ITK: x to the left, y to the back, z to the head.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from maskmed_nnu.itk import sitk

LABELS = {"background": 0, "liver": 1, "spleen": 2, "right kidney": 3, "left kidney": 4, "aorta": 5}
DATASET = "Dataset900_Phantoms"

PLANNING = ("-overwrite_target_spacing", "9", "7.4", "7.4")
"""Options of the planner: a coarse grid to train on in minutes; predictions have the images' own voxels."""

FIELD_OF_VIEW = np.array([296.0, 232.0, 208.0])
IN_PLANE_MM, SLICE_MM = (2.4, 2.9), (4.5, 6.5)
"""From which the voxels' edges are drawn."""
BLUR = 0.8
"""Standard deviation of the scanner's point spread, in voxels."""
FAT_HU = -85.0
NOISE_HU = 14.0

# centre and radii in mm; several ellipsoids of one name make one organ
_ELLIPSOIDS = {
    "liver": [((-66, -8, 28), (58, 62, 70)), ((-12, -46, 44), (58, 34, 34))],
    "spleen": [((90, 26, 40), (27, 42, 52))],
    "right kidney": [((-58, 44, -44), (29, 28, 48))],
    "left kidney": [((58, 44, -44), (29, 28, 48))],
    "stomach": [((52, -38, 36), (42, 36, 36))],
}


class Phantom(NamedTuple):
    """One case. ``image`` (HU, int16) and ``label`` (uint8) are [z, y, x]; the geometry is ITK's, as (x, y, z)."""

    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray


def make_phantom(rng: np.random.Generator, *, oblique: bool = False) -> Phantom:
    """Draw one patient and scan it on a grid of its own; `oblique` tilts that grid by 8° to 18°."""
    spacing = np.array([*[rng.uniform(*IN_PLANE_MM)] * 2, rng.uniform(*SLICE_MM)])
    size = np.round(FIELD_OF_VIEW / spacing).astype(int)
    direction = np.eye(3)
    if oblique:
        axis = rng.normal(size=3)
        direction = Rotation.from_rotvec(np.deg2rad(rng.uniform(8, 18)) * axis / np.linalg.norm(axis)).as_matrix()
    origin = -direction @ (spacing * (size - 1) / 2)
    indices = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    hounsfield, label = _patient(rng, (indices * spacing) @ direction.T + origin)
    noise = gaussian_filter(rng.normal(size=label.shape), 0.7)
    image = gaussian_filter(hounsfield, BLUR) + NOISE_HU * noise / noise.std()
    return Phantom(
        np.round(image).clip(-1024, 3071).astype(np.int16).T,
        label.T,
        tuple(spacing.tolist()),
        tuple(origin.tolist()),
        direction,
    )


def write_dataset(
    folder: Path, *, training: int = 14, test: int = 6, seed: int = 0, report: Callable[[str], None] = lambda line: None
) -> None:
    """Write `training` cases to imagesTr/labelsTr and `test` further ones, never trained on, to imagesTs/labelsTs.

    The same `seed` gives the same data set. ``dataset.json`` comes last: where it stands, the data set is complete.
    """
    for index in range(training + test):
        part = "Tr" if index < training else "Ts"
        phantom = make_phantom(np.random.default_rng([seed, index]), oblique=index % 4 == 1)
        name = f"phantom_{index:03d}"
        for kind, file, array in (
            ("images", f"{name}_0000.nii.gz", phantom.image),
            ("labels", f"{name}.nii.gz", phantom.label),
        ):
            path = folder / (kind + part) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(phantom.spacing)
            volume.SetOrigin(phantom.origin)
            volume.SetDirection(phantom.direction.ravel().tolist())
            sitk.WriteImage(volume, str(path))
        size, spacing = "×".join(map(str, phantom.image.shape[::-1])), "×".join(f"{s:.1f}" for s in phantom.spacing)
        report(f"  {name}  {size} voxels of {spacing} mm{', oblique' if index % 4 == 1 else ''}")
    description = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": training,
        "file_ending": ".nii.gz",
        "description": "CT-like phantoms made by `maskmed demo`",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _patient(rng: np.random.Generator, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and labels of a random patient at the points `world` [..., 3]."""
    points = (world + waves(rng, world, 3, 3.2)) / rng.uniform(0.93, 1.07, size=3)
    x, y, z = np.moveaxis(points, -1, 0)
    tissue = waves(rng, points, 1, 22.0)[..., 0]
    hounsfield = FAT_HU + 0.6 * tissue
    organ = np.zeros(x.shape, np.uint8)

    def paint(mask: np.ndarray, value: float, name: str = "background") -> None:
        hounsfield[mask] = value + 0.35 * tissue[mask]
        organ[mask] = LABELS[name]

    kidney = rng.normal(118, 12)
    values = {
        "liver": rng.normal(98, 10),
        "spleen": rng.normal(110, 10),
        "right kidney": kidney,
        "left kidney": kidney,
        "stomach": rng.uniform(60, 120),
    }
    vessel = rng.normal(132, 12)
    outline = np.hypot(x / 138, y / 104)

    for _ in range(26):  # bowel loops: the decoys
        centre = rng.uniform((-95, -75, -105), (95, 25, 10))
        paint(ellipsoid(rng, points, centre, rng.uniform(10, 26, size=3)), rng.uniform(20, 140))
    for side in (-1, 1):  # muscles beside the spine
        paint(np.hypot((x - side * 38) / 24, (y - 74) / 17) < 1, 58)
    for name in ("stomach", "liver", "spleen", "right kidney", "left kidney"):
        shift = rng.normal(scale=4.0, size=3).clip(-9, 9)
        scale = rng.uniform(0.88, 1.12)
        mask = np.zeros(x.shape, bool)
        for place, radii in _ELLIPSOIDS[name]:
            mask |= ellipsoid(rng, points, np.add(place, shift), scale * np.array(radii))
        if "kidney" in name:
            hilum = np.add(_ELLIPSOIDS[name][0][0], shift) * (0.62, 1, 1)
            mask &= ~ellipsoid(rng, points, hilum, np.array([13, 12, 16]))
        paint(mask, values[name], name if name in LABELS else "background")
    bend, sway = rng.uniform(-8, 8), rng.uniform(0, 2 * np.pi)
    for name, offset, radius in (("background", -20, 14), ("aorta", 17, 17)):
        middle = offset + rng.normal(scale=2) + bend * np.cos(z / 60 + sway)
        paint(np.hypot(x - middle, y - 30) < radius * rng.uniform(0.9, 1.1), vessel, name)

    spine = np.minimum(np.hypot(x / 25, (y - 66) / 21), np.hypot(x / 7, (y - 92) / 13))
    marrow = np.where(np.cos(z / 5) > -0.75, 190, 90)  # vertebrae and discs
    paint(spine < 1, 0)
    hounsfield[spine < 1] += np.where(spine < 0.82, marrow, 330)[spine < 1]
    wall = outline > 0.84
    paint(wall, 55)
    ribs = wall & (outline < 0.89) & (np.cos(12 * np.arctan2(y / 104, x / 138) + np.abs(x) / 40 + z / 9) > 0.75)
    paint(ribs, 300)
    for limit, value in ((0.91, -100), (0.975, 10), (1.0, -1000)):  # fat, skin, air
        hounsfield[outline > limit] = value
    return hounsfield, organ


def ellipsoid(rng: np.random.Generator, points: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Mask of the points inside an ellipsoid tilted by some 8° about each axis."""
    tilt = Rotation.from_euler("xyz", rng.normal(scale=8, size=3), degrees=True).as_matrix()
    return (np.square((points - centre) @ tilt / radii)).sum(axis=-1) < 1


def waves(rng: np.random.Generator, points: np.ndarray, channels: int, amplitude: float) -> np.ndarray:
    """A smooth random field [..., channels] of standard deviation `amplitude`, made of waves 100 to 260 mm long."""
    number = 6
    vectors = rng.normal(size=(number, 3))
    vectors *= (2 * np.pi / rng.uniform(100, 260, size=number) / np.linalg.norm(vectors, axis=1))[:, None]
    cosines = np.cos(points @ vectors.T + rng.uniform(0, 2 * np.pi, size=number))
    return cosines @ rng.normal(scale=amplitude * np.sqrt(2 / number), size=(number, channels))
