"""nnU-Net's loader, which places patches by the objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader


class InstanceDataLoader(nnUNetDataLoader):
    """Foreground sampling for objects: each has the same chance, however few its pixels are.

    nnU-Net draws a pixel of a class, so that a large object is drawn more often than a small one, and centres the patch
    on it. Here an object is drawn, and the patch the network sees is placed at random among the places that show the
    object whole. Patches stay within the image where the image is larger than they are. In a volume one of the slices
    that show the object is drawn.

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

        ``class_locations`` maps a class to rows of ``[object, z, y0, x0, y1, x1]``, one per object and slice, as
        `InstancePreprocessor` writes them.
        """
        target = draw_object(class_locations) if force_fg else None
        z = int(target[1]) if target is not None else np.random.randint(data_shape[0])
        lower = [z]
        for axis, (edge, length, cut) in enumerate(
            zip(self.final_patch_size[1:], data_shape[1:], self.patch_size[1:], strict=True)
        ):
            box = (int(target[2 + axis]), int(target[4 + axis])) if target is not None else None
            lower.append(draw_start(int(edge), int(length), box) - (int(cut) - int(edge)) // 2)
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
