"""nnU-Net's loader, which places patches by the objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader


class InstanceDataLoader(nnUNetDataLoader):
    """Foreground sampling for objects: each has the same chance, however few its pixels are.

    nnU-Net draws a pixel of a class, so that a large object is drawn more often than a small one, and centres the patch
    on it. Here an object is drawn, and the patch the network sees is placed at random among the places that show the
    object whole. Patches stay within the image where the image is larger than they are. For patches of 2D one of the
    slices of a volume that show the object is drawn.

    Where ``patch_size`` is larger than ``final_patch_size``, the latter is placed; augmentation uses the margin
    around it and cuts it off.
    """

    def get_bbox(
        self,
        data_shape: Sequence[int],
        force_fg: bool,
        class_locations: dict[int, np.ndarray] | None,
        overwrite_class: int | None = None,
        verbose: bool = False,
    ) -> tuple[list[int], list[int]]:
        """The box ``[z, y, x]`` to cut out, half open; it may reach beyond the image.

        ``class_locations`` maps a class to rows of ``[object, z, y0, x0, y1, x1]``, one per object and slice, or of
        ``[object, z0, y0, x0, z1, y1, x1]``, one per object, as `InstancePreprocessor` writes them.
        """
        target = draw_object(class_locations) if force_fg else None
        box = [None] * len(data_shape) if target is None else box_of(target)
        lower = [
            draw_start(int(edge), int(length), interval) - (int(cut) - int(edge)) // 2
            for edge, length, cut, interval in zip(self.final_patch_size, data_shape, self.patch_size, box, strict=True)
        ]
        return lower, [start + int(edge) for start, edge in zip(lower, self.patch_size, strict=True)]


def draw_object(class_locations: dict[int, np.ndarray] | None) -> np.ndarray | None:
    """One row of one object; objects are equally likely, then the slices of it. None where there are none."""
    rows = [np.asarray(of_class) for of_class in (class_locations or {}).values() if len(of_class)]
    if not rows:
        return None
    rows = np.concatenate(rows)
    objects = np.unique(rows[:, 0])
    rows = rows[rows[:, 0] == objects[np.random.randint(len(objects))]]
    return rows[np.random.randint(len(rows))]


def box_of(row: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop along z, y and x; a row of a slice has no stop along z.

    >>> box_of(np.array([7, 5, 1, 2, 3, 4])), box_of(np.array([7, 5, 1, 2, 6, 3, 4]))
    ([(5, 6), (1, 3), (2, 4)], [(5, 6), (1, 3), (2, 4)])
    """
    starts, stops = row[1:4].tolist(), row[4:].tolist()
    return list(zip(starts, [*(start + 1 for start in starts[: 3 - len(stops)]), *stops], strict=True))


def draw_start(edge: int, length: int, box: tuple[int, int] | None) -> int:
    """Where a patch of ``edge`` pixels starts along an axis of ``length`` pixels.

    It stays within the image, or contains the image where that is smaller. With the half open ``box`` of an object it
    contains the object, or lies within it where that is larger.
    """
    low, high = sorted((0, length - edge))
    if box is not None:
        first, last = sorted((box[0], box[1] - edge))
        low, high = max(low, first), min(high, last)
    return np.random.randint(low, high + 1)
