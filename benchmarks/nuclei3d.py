"""Nuclei in volumes: drawn with slices 1, 2 and 5 pixels apart, or a real volume cut in two halves.

    python benchmarks/nuclei3d.py /tmp/nuclei --anisotropy 1 2 5 --real DATA/stardist

FOLDER/anisotropy_1 and so on, and FOLDER/real, get ``images`` and ``masks`` of NIfTI with their spacing, the test cases
last by name; ``maskmed convert`` or ``compare_volumes.py`` go on from there. The drawn ones are those of
``maskmed demo --task cells3d``.

The real volume is cut across its rows, and four rows between the halves are left out. Nuclei that both
halves show are learned in the first; in the second they are in ``ignored``, and neither count as found nor as missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel
import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TRAINING, TEST = 16, 8
SHAPE = (50, 96, 96)
"""Of the space that is drawn: with an anisotropy of 5 a volume has 10 slices."""
GAP = 4
"""Rows between the halves of the real volume."""
REAL_SPACING = (2.0, 1.0, 1.0)
"""Of the real volume, which tells none: its nuclei are half as many slices high as they are rows and columns wide."""


def draw(folder: Path, anisotropy: int, *, training: int = TRAINING, test: int = TEST, seed: int = 0) -> int:
    """Write the volumes of one anisotropy; returns how many are for testing."""
    from maskmed_nnu.demo.cells3d import draw_stack

    for index in range(training + test):
        stack = draw_stack(np.random.default_rng([seed, anisotropy, index]), anisotropy=anisotropy, shape=SHAPE)
        save(folder, f"nuclei_{index:02d}", (anisotropy, 1.0, 1.0), images=stack.image, masks=stack.ids)
    return test


def halve(folder: Path, source: Path) -> int:
    """Write the halves of ``img3d.tif`` and ``mask3d.tif`` in ``source``; returns how many are for testing."""
    image, ids = (tifffile.imread(source / f"{name}3d.tif") for name in ("img", "mask"))
    middle = image.shape[1] // 2
    first, second = np.s_[:, : middle - GAP // 2], np.s_[:, middle + GAP // 2 :]
    cut = np.intersect1d(ids[first], ids[second])
    ignored = np.isin(ids[second], cut[cut > 0])
    save(folder, "half_0", REAL_SPACING, images=image[first], masks=ids[first])
    kept = np.where(ignored, 0, ids[second]).astype(ids.dtype)
    save(folder, "half_1", REAL_SPACING, images=image[second], masks=kept, ignored=ignored.astype(np.uint8))
    return 1


def save(folder: Path, name: str, spacing: tuple[float, float, float], **parts: np.ndarray) -> None:
    """``folder/PART/name.nii.gz`` of each array [z, y, x]."""
    for part, values in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(np.ascontiguousarray(values.T), np.diag([*spacing[::-1], 1.0]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / part / f"{name}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--anisotropy", nargs="+", type=int, default=[1, 2, 5], choices=range(1, 11), metavar="N")
    parser.add_argument("--real", type=Path, help="folder with img3d.tif and mask3d.tif of StarDist's example")
    args = parser.parse_args()
    for anisotropy in args.anisotropy:
        draw(args.folder / f"anisotropy_{anisotropy}", anisotropy)
    if args.real:
        halve(args.folder / "real", args.real)
    print("\n".join(str(path) for path in sorted(args.folder.iterdir())))


if __name__ == "__main__":
    main()
