"""A network that reads the truth out of its input, where the images' intensities are the values of the label files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy import ndimage
from torch import Tensor, nn

from maskmed_nnu.instances.instance_map import InstanceMap, LabelFormat
from maskmed_nnu.networks.output import TileInstances

TILE = (64, 64)


class Oracle(nn.Module):
    """Channel ``l`` of the input is layer ``l`` of a label file; every object of a tile is found, with one score.

    Where the input was interpolated, an object is what is closest to its value.
    """

    def __init__(
        self,
        *,
        things: Sequence[int] = (1,),
        divisor: int | None = None,
        classes: int = 0,
        tile: Sequence[int] = TILE,
    ) -> None:
        super().__init__()
        self.tile = tuple(tile)
        self.score = nn.Parameter(torch.tensor(0.9))
        self.things, self.divisor, self.classes = list(things), divisor, classes
        self.calls = 0

    def predict_instances(self, image: Tensor) -> list[TileInstances]:
        assert not self.training
        assert image.shape[2:] == self.tile
        self.calls += 1
        return [self._answer(one) for one in image.numpy().astype(np.int64)]

    def _answer(self, layers: np.ndarray) -> TileInstances:
        boxes, masks, classes = [], [], []
        for layer in layers:
            values, ranks = np.unique(layer, return_inverse=True)
            for value, box in zip(values, ndimage.find_objects(ranks.reshape(layer.shape) + 1), strict=True):
                number, index = (1, value) if self.divisor is None else divmod(value, self.divisor)
                if index == 0 or number not in self.things:
                    continue
                boxes.append([axis.start for axis in box] + [axis.stop for axis in box])
                masks.append(torch.from_numpy((layer[box] == value).astype(np.uint8) * 255))
                classes.append(self.things.index(number))
        semantic = None
        if self.classes:
            number = torch.from_numpy(layers[0] // self.divisor)
            semantic = nn.functional.one_hot(number, 1 + self.classes).movedim(-1, 0).float()
        return TileInstances(
            self.score.detach().expand(len(masks)),
            torch.tensor(classes, dtype=torch.int64),
            torch.tensor(boxes, dtype=torch.int64).view(-1, 2 * len(self.tile)),
            masks,
            semantic,
        )


def dataset(classes: dict[str, int] | None = None, *, ending: str = ".png", channels: int = 1, **more: object) -> dict:
    """``dataset.json`` of a data set of objects; ``more``: label_divisor, overlap_layers."""
    return {
        "channel_names": {str(channel): "ids" for channel in range(channels)},
        "labels": {"background": 0, **(classes or {"cell": 1})},
        "numTraining": 1,
        "file_ending": ending,
        "overwrite_image_reader_writer": "InstanceIO",
        **more,
    }


def plans(
    dataset_json: dict,
    *,
    things: Sequence[int] = (1,),
    layers: int = 1,
    spacing: float | Sequence[float] = 1.0,
    tile: Sequence[int] = TILE,
) -> dict:
    """``plans.json`` with one configuration, 2d or 3d_fullres by ``tile``, which leaves the intensities alone."""
    name = "2d" if len(tile) == 2 else "3d_fullres"
    channels = len(dataset_json["channel_names"])
    numbers = [n for n in dataset_json["labels"].values() if n]
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"IAUNetPlans_{name}",
        "preprocessor_name": "InstancePreprocessor",
        "batch_size": 3,
        "patch_size": list(tile),
        "median_image_size_in_voxels": [100.0] * len(tile),
        "spacing": [spacing] * len(tile) if isinstance(spacing, float) else list(spacing),
        "normalization_schemes": ["NoNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "architecture": {},
        "instances": {
            "thing_classes": list(things),
            "stuff_classes": [n for n in numbers if n not in things],
            "layer_classes": [things[0]] * layers,
            "label_divisor": dataset_json.get("label_divisor"),
            "overlap_layers": dataset_json.get("overlap_layers", False),
        },
    }
    return {
        "dataset_name": "Dataset001_Oracle",
        "plans_name": "IAUNetPlans",
        "image_reader_writer": "InstanceIO",
        "label_manager": "InstanceLabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(channels)},
        "configurations": {name: configuration},
    }


def oracle_predictor(
    network: nn.Module, plan: dict, dataset_json: dict, *, states: Sequence[dict] | None = None, **settings: object
) -> nnUNetPredictor:
    """nnU-Net's predictor with the oracle in it, mirroring along all axes."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), **{"allow_tqdm": False, **settings})
    manager = PlansManager(plan)
    states = [network.state_dict()] if states is None else list(states)
    configuration = manager.get_configuration(next(iter(plan["configurations"])))
    axes = tuple(range(len(configuration.patch_size)))
    trainer = "nnUNetTrainerIAUNet"
    predictor.manual_initialization(network, manager, configuration, states, dataset_json, trainer, axes)
    return predictor


def write_description(folder: Path, dataset_json: dict) -> None:
    """``dataset.json`` in ``folder``, beside which label files can be read."""
    (folder / "dataset.json").write_text(json.dumps(dataset_json))


def format_of(dataset_json: dict) -> LabelFormat:
    return LabelFormat.from_dataset_json(dataset_json)


def grid_of_cells(shape: Sequence[int], *, pitch: int = 12, edge: int = 9, seed: int = 0) -> np.ndarray:
    """int32 ``shape`` of touching and lone cells with shuffled ids from 1 on; the image's border cuts some off."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(shape, np.int32)
    places = list(itertools.product(*(range(0, length, pitch) for length in shape)))
    for number, place in zip(rng.permutation(len(places)) + 1, places, strict=True):
        size = rng.integers(edge // 2, pitch + 1, len(shape))
        ids[tuple(slice(start, start + n) for start, n in zip(place, size, strict=True))] = number
    return ids


def same_objects(found: InstanceMap, truth: InstanceMap) -> bool:
    """Whether both hold the same pixels and classes of objects, whatever their ids and layers, and the same stuff."""
    return _contents(found) == _contents(truth) and np.array_equal(found.stuff, truth.stuff)


def _contents(objects: InstanceMap) -> list[tuple[int, bytes]]:
    contents = []
    for layer in objects.ids:
        flat = layer.ravel()
        at = np.flatnonzero(flat)
        order = np.argsort(flat[at], kind="stable")
        values, starts = np.unique(flat[at][order], return_index=True)
        for value, pixels in zip(values, np.split(at[order], starts)[1:], strict=True):
            contents.append((int(objects.classes[value - 1]), pixels.tobytes()))
    return sorted(contents)
