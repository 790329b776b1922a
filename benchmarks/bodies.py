"""Bodies in which only the place tells sixteen classes apart, as an nnU-Net raw data set.

    python benchmarks/bodies.py FOLDER

writes ``FOLDER/Dataset901_Bodies``, complete or not at all: 24 cases to train on and 12 unseen ones, the last by id,
so that ``compare_trainers.py --test-cases 12`` takes them. Everything has one of three grey values, decoys without a
label included. Classes 1 and 2, 3 and 4, 5 and 6, 7 and 8 are partners on both sides of the body, drawn from one
distribution; 9 to 14 are a chain of alike vertebrae from the feet to the head; 15 and 16 lie in
the middle, so that nothing but the side tells partners apart. Names do not tell any of this. Each patient has its own
sizes, places, tilts, deformation and spacing; every third grid is oblique by 3° to 10°. All are stored in the same
orientation.

Coordinates are millimetres in the patient's frame: x to the left, y to the back, z to the head.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from methods import stop
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maskmed_nnu.demo.phantoms import Phantom, ellipsoid, waves
from maskmed_nnu.json_file import write_json

DATASET = "Dataset901_Bodies"
TRAINING, UNSEEN = 24, 12
FIELD_OF_VIEW = 224.0  # mm, along each axis
GREY = {"dark": 80.0, "middle": 120.0, "bright": 160.0}
SOFT_TISSUE, NOISE = 40.0, 8.0
DECOYS = 8
# centre of the partner on the left, radii, grey value
PAIRS = [
    ((50, -5, 56), (30, 34, 32), "dark"),
    ((48, 34, -28), (19, 18, 27), "middle"),
    ((30, 20, 16), (15, 14, 19), "bright"),
    ((46, 0, -78), (18, 18, 20), "dark"),
]
VERTEBRAE, VERTEBRA_HEIGHT, GAP = 6, 19.0, 7.0
LOWEST, VERTEBRA_RADIUS = (0.0, 58.0, -92.0), 18.0
SINGLE = [((0, -28, -56), (24, 22, 20), "middle"), ((0, -36, 4), (36, 27, 22), "bright")]
LABELS = {"background": 0} | {f"structure {value}": value for value in range(1, 17)}


def make_body(rng: np.random.Generator, *, oblique: bool = False) -> Phantom:
    """Draw one patient on a grid of its own, of some 32×32×32 voxels."""
    spacing = rng.uniform(6.6, 7.4, size=3)
    size = np.round(FIELD_OF_VIEW / spacing).astype(int)
    direction = np.eye(3)
    if oblique:
        axis = rng.normal(size=3)
        direction = Rotation.from_rotvec(np.deg2rad(rng.uniform(3, 10)) * axis / np.linalg.norm(axis)).as_matrix()
    origin = -direction @ (spacing * (size - 1) / 2)
    indices = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    grey, label = _patient(rng, (indices * spacing) @ direction.T + origin)
    image = gaussian_filter(grey, 0.5) + NOISE * rng.normal(size=grey.shape)
    return Phantom(
        np.round(image).astype(np.int16).T, label.T, tuple(spacing.tolist()), tuple(origin.tolist()), direction
    )


def _patient(rng: np.random.Generator, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and labels of a random patient at the points ``world [..., 3]``."""
    shift = rng.uniform(-8, 8, size=3)
    points = (world - shift + waves(rng, world, 3, 2.5)) / rng.uniform(0.93, 1.07, size=3)
    x, y, z = np.moveaxis(points, -1, 0)
    inside = np.hypot(x / 96, y / 90) < 1
    grey = np.where(inside, SOFT_TISSUE, 0.0)
    label = np.zeros(x.shape, np.uint8)
    values = {name: value + rng.uniform(-6, 6) for name, value in GREY.items()}

    def paint(mask: np.ndarray, name: str, value: int) -> None:
        grey[mask], label[mask] = values[name], value

    def organ(centre: np.ndarray, radii: tuple[int, int, int], name: str, value: int) -> None:
        moved = centre + rng.normal(scale=4.0, size=3).clip(-8, 8)
        paint(ellipsoid(rng, points, moved, rng.uniform(0.88, 1.12) * np.array(radii)), name, value)

    for _ in range(DECOYS):
        centre = rng.uniform((-75, -65, -100), (75, 65, 100))
        paint(inside & ellipsoid(rng, points, centre, rng.uniform(8, 17, size=3)), rng.choice(list(GREY)), 0)
    for value, (centre, radii, name) in enumerate(SINGLE, start=15):
        organ(np.array(centre), radii, name, value)
    for pair, (centre, radii, name) in enumerate(PAIRS):
        for side in rng.permutation(2):  # neither partner always lies over the other
            organ(np.multiply(centre, (1 - 2 * side, 1, 1)), radii, name, 2 * pair + 1 + side)
    bend, sway, start = rng.uniform(-5, 5), rng.uniform(0, 2 * np.pi), LOWEST[2] + rng.uniform(-4, 4)
    middle = LOWEST[0] + bend * np.cos(z / 50 + sway)
    for number in range(VERTEBRAE):
        low = start + number * (VERTEBRA_HEIGHT + GAP)
        mask = (np.hypot(x - middle, y - LOWEST[1]) < VERTEBRA_RADIUS) & (z >= low) & (z < low + VERTEBRA_HEIGHT)
        paint(mask, "bright", 9 + number)
    return grey, label


def write_bodies(folder: Path, *, training: int = TRAINING, unseen: int = UNSEEN) -> Path:
    """The data set below ``folder``; the same arguments give the same files.

    The ids of the unseen cases begin at 101: no case to train on is their neighbour.
    """
    target = folder / DATASET
    if target.exists():
        stop(f"{target} is there already; name another folder, or delete it.")
    partial = folder / f".{DATASET}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for part in ("imagesTr", "labelsTr"):
        (partial / part).mkdir(parents=True)
    for number in [*range(1, training + 1), *range(101, unseen + 101)]:
        body = make_body(np.random.default_rng(number), oblique=number % 3 == 0)
        for file, array in (("imagesTr/body_{:03d}_0000", body.image), ("labelsTr/body_{:03d}", body.label)):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(body.spacing)
            volume.SetOrigin(body.origin)
            volume.SetDirection(body.direction.ravel().tolist())
            sitk.WriteImage(volume, str(partial / (file.format(number) + ".nii.gz")))
    description = {
        "channel_names": {"0": "MRI"},  # normalized by its own mean and deviation
        "labels": LABELS,
        "numTraining": training + unseen,
        "file_ending": ".nii.gz",
    }
    write_json(partial / "dataset.json", description, indent=2)
    partial.rename(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"where {DATASET} is put")
    parser.add_argument("--training", type=int, default=TRAINING, metavar="N", help="cases to train on (%(default)s)")
    options = parser.parse_args()
    print(write_bodies(options.folder, training=options.training))


if __name__ == "__main__":
    main()
