"""Generated cells as users have them: images beside label maps, COCO json, nnU-Net data sets; and plans for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_data import write_image

from maskmed_nnu.instances.coco import coco_annotations
from maskmed_nnu.instances.components import split_disconnected
from maskmed_nnu.instances.instance_map import InstanceMap
from maskmed_nnu.nnunet.experiment_planning import maskattn_rules
from tests.instances.cells import draw_cells

SHAPES = ((96, 112), (80, 72), (128, 96))


def write_label_maps(folder: Path, *, images: int = 7) -> None:
    """``folder/images`` and ``folder/masks``: touching cells in PNGs of three sizes; the last image has none."""
    for index in range(images):
        picture, objects = _cells(index, count=0 if index == images - 1 else 14)
        _save(folder / "images" / f"cells_{index:02d}.png", picture)
        _save(folder / "masks" / f"cells_{index:02d}.png", objects.ids[0].astype(np.uint8))


def write_coco(folder: Path, *, images: int = 7) -> None:
    """``folder/images`` and ``folder/cells.json``: overlapping cells, each with a nucleus, as RLE."""
    listed, annotations = [], []
    for index in range(images):
        picture, objects = _cells(index, count=8, overlapping=True, classes=2)
        _save(folder / "images" / f"cells_{index:02d}.png", picture)
        height, width = picture.shape
        listed.append({"id": index, "file_name": f"cells_{index:02d}.png", "height": height, "width": width})
        annotations += coco_annotations(objects, index, first_id=len(annotations) + 1)
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (folder / "cells.json").write_text(json.dumps(content))


def shrink_instance_plans(plans_file: Path, *, patch: int = 64, configuration: str = "2d") -> None:
    """A small network and patch, so that images have tiles, and low thresholds: what is hardly trained finds much.

    The patch of a volume has 8 slices.
    """
    plans = json.loads(plans_file.read_text())
    configuration = plans["configurations"][configuration]
    dim = len(configuration["patch_size"])
    edges = [8, patch, patch][-dim:]
    configuration.update(batch_size=2, patch_size=edges)
    configuration["instances"]["score_threshold"] = 0.01
    kwargs = configuration["architecture"]["arch_kwargs"]
    pyramid = [16, 16, 8][: len(kwargs["pyramid"])]
    kwargs.update(
        n_stages=4,
        features_per_stage=[8, 8, 16, 16],
        kernel_sizes=[[3] * dim] * 4,
        strides=[[1] * dim, [1, 2, 2][-dim:], [2] * dim, [2] * dim],
        n_conv_per_stage=[1, 1, 1, 1],
        n_conv_per_stage_decoder=[1, 1, 1],
        width=16,
        heads=2,
        ffn=16,
        levels=1,
        pyramid=pyramid,
        num_queries=min(kwargs["num_queries"], 50),
        window=[min(*pair) for pair in zip(kwargs["window"], edges, strict=True)]
        if dim == 3
        else min(kwargs["window"], patch),
        score_threshold=0.005,
    )
    plans_file.write_text(json.dumps(plans))


def shrink_maskattn_plans(plans_file: Path, *, patch: int = 64) -> None:
    """The same for MaskAttn-UNet, of labels too; a narrow network learns at a higher rate."""
    plans = json.loads(plans_file.read_text())
    configuration = plans["configurations"]["2d"]
    configuration.update(batch_size=2, patch_size=[patch, patch])
    configuration["maskattn_unet"]["learning_rate"] = 5e-3
    if "instances" in configuration:
        configuration["instances"]["score_threshold"] = 0.01
    kwargs = configuration["architecture"]["arch_kwargs"]
    kwargs.update(features_per_stage=[8, 16, 16, 16][: kwargs["n_stages"]], heads=2)
    kwargs["key_strides"] = maskattn_rules.key_strides((patch, patch), kwargs["strides"])
    plans_file.write_text(json.dumps(plans))


def _cells(seed: int, **cells: object) -> tuple[np.ndarray, InstanceMap]:
    picture, objects = draw_cells(np.random.default_rng(seed), shape=SHAPES[seed % len(SHAPES)], **cells)
    return np.clip(100 + 50 * picture, 0, 255).astype(np.uint8), objects


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_volumes(folder: Path, *, volumes: int = 7) -> None:
    """``folder``: an nnU-Net data set of NIfTI volumes of 3 slices on oblique grids, one class."""
    for index in range(volumes):
        slices = [draw_cells(np.random.default_rng(10 * index + z), shape=(64, 72), count=6) for z in range(3)]
        layers = [split_disconnected(objects).ids[0] for _, objects in slices]
        ids = np.stack([layer + 20 * z * (layer > 0) for z, layer in enumerate(layers)])
        picture = np.stack([picture for picture, _ in slices])
        for name, array in (
            (f"imagesTr/volume_{index}_0000", picture.astype(np.float32)),
            (f"labelsTr/volume_{index}", ids.astype(np.uint16)),
        ):
            write_image(folder / f"{name}.nii.gz", array, oblique=True)
    description = {
        "channel_names": {"0": "microscopy"},
        "labels": {"background": 0, "cell": 1},
        "numTraining": volumes,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "InstanceIO",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
