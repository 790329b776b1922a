"""Generated cells: noisy pictures of ellipses with known objects, and nnU-Net data sets of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile

from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat, encode, stack_layers

CLASSES = {1: {"cell": 1}, 2: {"cell": 1, "nucleus": 2}, 3: {"cell": 1, "nucleus": 2, "matrix": 3}}


def draw_cells(
    rng: np.random.Generator,
    *,
    shape: Sequence[int] = (96, 112),
    count: int = 12,
    radius: tuple[float, float] = (4.0, 9.0),
    spacing: Sequence[float] | None = None,
    overlapping: bool = False,
    classes: int = 1,
) -> tuple[np.ndarray, InstanceMap]:
    """A picture or volume, float32 ``shape``, and its ``count`` objects; some may be hidden or cut off by the edge.

    ``radius`` is in units of ``spacing``, by default pixels. Class 1 is bright. ``overlapping`` puts every second cell
    half over the one before it, else nothing overlaps. Two classes: each cell of class 1 has a darker nucleus inside
    (in a hole of the cell, where nothing may overlap). Three: the last third of the first axis is stuff.
    """
    image = rng.normal(0, 0.3, shape).astype(np.float32)
    grid = np.indices(shape)
    free = np.ones(shape, bool)
    masks, numbers = [], []
    dim = len(shape)
    centre = np.zeros(dim)
    for index in range(count):
        radii = rng.uniform(*radius, dim) / (np.ones(dim) if spacing is None else np.asarray(spacing))
        on_top = overlapping and index % 2 == 1
        centre = centre + radii * np.eye(dim)[-1] if on_top else rng.uniform(0, shape)
        distance = sum(((axis - middle) / edge) ** 2 for axis, middle, edge in zip(grid, centre, radii, strict=True))
        mask = (distance < 1) & (free | overlapping)
        nucleus = (distance < 0.2) & mask
        free &= ~mask
        if classes > 1 and not overlapping:
            mask &= ~nucleus
        for number, found in ((1, mask), (2, nucleus))[: min(classes, 2)]:
            if found.any():
                masks.append(found)
                numbers.append(number)
                image[found] += 2.0 if number == 1 else -1.5
    stuff = np.zeros(shape, np.int32)
    if classes == 3:
        stuff[shape[0] * 2 // 3 :] = 3
        image[stuff > 0] += 0.7
    boxes = [((slice(None),) * dim, mask) for mask in masks]
    return image, InstanceMap(stack_layers(boxes, shape), np.array(numbers, np.int64), stuff)


def write_cells(
    raw: Path,
    *,
    dataset_id: int = 11,
    images: int = 6,
    overlapping: bool = False,
    classes: int = 1,
    ending: str = ".tif",
    seed: int = 0,
    **cells: object,
) -> Path:
    """An nnU-Net data set, ``raw/Dataset011_Cells``, of TIFFs or, with that ``ending``, of NIfTIs; one more image than
    ``images`` has no object."""
    folder = raw / f"Dataset{dataset_id:03d}_Cells"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    dataset = {
        "channel_names": {"0": "microscopy"},
        "labels": {"background": 0, **CLASSES[classes]},
        "numTraining": images + 1,
        "file_ending": ending,
        "overwrite_image_reader_writer": "InstanceIO",
    }
    if classes > 1:
        dataset["label_divisor"] = 1000
    if overlapping:
        dataset["overlap_layers"] = True
    label_format = LabelFormat.from_dataset_json(dataset)
    rng = np.random.default_rng(seed)
    for index in range(images + 1):
        settings = {**cells, "count": 0} if index == images else cells
        image, objects = draw_cells(rng, overlapping=overlapping, classes=classes, **settings)
        ids = encode(objects, label_format)
        picture = np.clip(1000 + 500 * image, 0, 2**16 - 1).astype(np.uint16)
        _write(folder / "imagesTr" / f"cells_{index:03d}_0000{ending}", picture, settings.get("spacing"))
        label = ids if overlapping else ids[0]
        if overlapping and len(ids) == 1 and ids.ndim == 4:  # as InstanceIO writes a volume in one layer
            label = np.concatenate([ids, np.zeros_like(ids)])
        _write(folder / "labelsTr" / f"cells_{index:03d}{ending}", label, settings.get("spacing"))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


def _write(path: Path, array: np.ndarray, spacing: Sequence[float] | None) -> None:
    if not path.name.endswith(".nii.gz"):
        tifffile.imwrite(path, array, photometric="minisblack")
        return
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing([*(spacing or [1.0] * array.ndim)][::-1] + [1.0] * (array.ndim - len(spacing or array.shape)))
    sitk.WriteImage(image, str(path))
