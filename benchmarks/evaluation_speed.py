"""How long class maps take to evaluate, beside reading them and MONAI's own surface distances::

    python benchmarks/evaluation_speed.py                     # 30 volumes of 512×512×100 with 15 classes
    python benchmarks/evaluation_speed.py --volumes 4 --size 256 256 50

Ellipsoids, and a prediction that moves each a little. MONAI's time is that of ``get_edge_surface_distance`` (surfaces
and distances in both directions, once for HD95 and NSD) on the boxes around each class, so that it is the least that
its distances can cost. The ratio is that
of the evaluation to the sum of both, each in one thread.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import maskmed_nnu as mm
from maskmed_nnu.instances import formats

SPACING = (2.5, 0.8, 0.8)


def draw(rng: np.random.Generator, size: tuple[int, int, int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction ``[z, y, x]``."""
    volumes = np.zeros((2, *size), np.uint8)
    for label in range(1, classes + 1):
        radius = rng.uniform(0.05, 0.16, 3) * size
        centre = rng.uniform(radius, np.array(size) - radius)
        for volume, shift in zip(volumes, (0, 3), strict=True):
            moved = centre + rng.normal(0, 1, 3) * shift
            low = np.clip(moved - radius - 1, 0, size).astype(int)
            high = np.clip(moved + radius + 2, 0, size).astype(int)
            grid = np.ogrid[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
            inside = sum(((g - m) / r) ** 2 for g, m, r in zip(grid, moved, radius, strict=True)) < 1
            volume[tuple(slice(*ends) for ends in zip(low, high, strict=True))][inside] = label
    return volumes[0], volumes[1]


def monai_seconds(truth: np.ndarray, prediction: np.ndarray) -> float:
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    boxes = [ndimage.find_objects(volume) for volume in (prediction, truth)]
    start = time.perf_counter()
    for label, sides in enumerate(zip(*boxes, strict=False), 1):
        if None in sides:
            continue
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*sides, strict=True))
        masks = [torch.from_numpy(volume[box] == label) for volume in (prediction, truth)]
        get_edge_surface_distance(*masks, spacing=list(SPACING), symmetric=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=30)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 100), metavar=("X", "Y", "Z"))
    parser.add_argument("--classes", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in ("truth", "prediction")]
        for place in folders:
            place.mkdir()
        for number in range(options.volumes):
            for place, labels in zip(folders, draw(rng, tuple(options.size[::-1]), options.classes), strict=True):
                image = nibabel.Nifti1Image(labels.T, np.diag([*SPACING[::-1], 1.0]))
                nibabel.save(image, place / f"case_{number:02}.nii.gz")
        mm.evaluate(np.eye(5, dtype=int), np.eye(5, dtype=int))  # imports MONAI
        reading = monai = 0.0
        for file in sorted(folders[0].iterdir()):
            start = time.perf_counter()
            truth, prediction = (formats.read(place / file.name).values for place in folders)
            reading += time.perf_counter() - start
            monai += monai_seconds(truth, prediction)
        start = time.perf_counter()
        mm.evaluate(*folders, workers=options.workers)
        ours = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = "×".join(map(str, options.size))
    print(f"{options.volumes} volumes of {size} with {options.classes} classes, {options.workers} threads\n")
    print("| reading, 1 thread | MONAI's distances, 1 thread | evaluation | ratio | peak memory |")
    print("|--:|--:|--:|--:|--:|")
    ratio = ours / (reading + monai)
    print(f"| {reading:.1f} s | {monai:.1f} s | {ours:.1f} s | {ratio:.2f} | {peak:.1f} GiB |")


if __name__ == "__main__":
    main()
