"""Objects of one case through tiles, mirrorings and folds, with an oracle in the network's place."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.detections import Detections, from_instance_map, to_instance_map, unpack
from maskmed_nnu.instances.instance_map import InstanceMap, decode
from maskmed_nnu.instances.metrics import InstanceMetrics
from maskmed_nnu.instances.stitching.tiles import plan_tiles
from maskmed_nnu.nnunet.inference import case_prediction
from maskmed_nnu.nnunet.inference.case_prediction import instance_network, predict_case
from maskmed_nnu.nnunet.inference.predictor import tile_overlap
from tests.nnunet.oracle import (
    TILE,
    Oracle,
    dataset,
    format_of,
    grid_of_cells,
    oracle_predictor,
    plans,
    same_objects,
)

SETTINGS = {"tile_size": TILE, "overlap": (32, 32), "mirror_axes": (0, 1), "device": torch.device("cpu")}
CUBE = (12, 20, 16)
IN_SPACE = {**SETTINGS, "tile_size": CUBE, "overlap": (4, 8, 8), "mirror_axes": (0, 1, 2)}


def as_map(detections: Detections, layers: int = 9) -> InstanceMap:
    ids, classes, dropped = to_instance_map(detections, layers)
    assert dropped == 0
    stuff = np.zeros(ids.shape[1:], np.int32) if detections.stuff is None else detections.stuff.astype(np.int32)
    return InstanceMap(ids, classes, stuff)


def as_data(*layers: np.ndarray) -> torch.Tensor:
    """``[C, Z, H, W]``, Z = 1 of an image"""
    channels = np.stack(layers).astype(np.float32)
    return torch.from_numpy(channels if channels.ndim == 4 else channels[:, None])


@pytest.mark.parametrize("shape", [(64, 64), (20, 31), (63, 150), (200, 129), (65, 10)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_images_of_any_size_are_exact(shape, batch_size):
    truth = grid_of_cells(shape)
    (found,) = predict_case(Oracle(), as_data(truth), thing_classes=(1,), batch_size=batch_size, **SETTINGS)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    metrics = InstanceMetrics()
    metrics.update(found, from_instance_map(truth[None], np.ones(truth.max(), np.int64)))
    scores = metrics.compute()
    assert (scores["AP"], scores["PQ"]) == (1.0, 1.0)


@pytest.mark.parametrize("shape", [CUBE, (5, 9, 40), (30, 31, 17), (13, 50, 16)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_volumes_of_any_size_are_exact(shape, batch_size):
    truth = grid_of_cells(shape, pitch=6, edge=5)
    network = Oracle(tile=CUBE)
    (found,) = predict_case(network, as_data(truth), thing_classes=(1,), batch_size=batch_size, **IN_SPACE)
    assert found.shape == shape
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))


def test_an_object_larger_than_a_tile_and_an_empty_image():
    truth = np.zeros((150, 170), np.int32)
    truth[10:140, 20:150] = 3
    (found,) = predict_case(Oracle(), as_data(truth), thing_classes=(1,), **SETTINGS)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    (found,) = predict_case(Oracle(), as_data(truth * 0), thing_classes=(1,), **SETTINGS)
    assert (len(found), found.shape) == (0, (150, 170))


def test_in_space_an_object_larger_than_a_tile_and_an_empty_volume():
    truth = np.zeros((30, 50, 40), np.int32)
    truth[2:28, 5:45, 3:36] = 3
    truth[8:12, 20:24, 15:20] = 0  # hollow, as it is in truth
    (found,) = predict_case(Oracle(tile=CUBE), as_data(truth), thing_classes=(1,), **IN_SPACE)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    (found,) = predict_case(Oracle(tile=CUBE), as_data(truth * 0), thing_classes=(1,), **IN_SPACE)
    assert (len(found), found.shape) == (0, (30, 50, 40))


def test_in_space_overlapping_objects_two_classes_and_stuff():
    rng = np.random.default_rng(1)
    layers = np.zeros((2, 16, 30, 26), np.int64)
    layers[0, :, :12] = 3000  # stuff
    for index in range(1, 6):
        z, y, x = rng.integers(0, (8, 20, 16))
        layers[0, z : z + 5, y : y + 7, x : x + 8] = 1000 + index
        layers[1, z + 2 : z + 8, y + 3 : y + 9, x + 2 : x + 9] = 2000 + index
    description = dataset({"a": 1, "b": 2, "c": 3}, label_divisor=1000)
    network = Oracle(things=(1, 2), divisor=1000, classes=3, tile=CUBE)
    settings = {**IN_SPACE, "overlap": (10, 12, 12)}
    (found,) = predict_case(network, as_data(*layers), thing_classes=(1, 2), stuff_classes=(3,), **settings)
    assert same_objects(as_map(found), decode(layers, format_of(description)))


def test_overlapping_objects_two_classes_and_stuff():
    rng = np.random.default_rng(1)
    layers = np.zeros((2, 120, 140), np.int64)
    layers[0, :40, :] = 3000  # stuff
    for index in range(1, 12):
        y, x = rng.integers(0, (100, 120))
        layers[0, y : y + 18, x : x + 22] = 1000 + index
        layers[1, y + 6 : y + 20, x + 8 : x + 26] = 2000 + index
    truth = decode(layers, format_of(dataset({"a": 1, "b": 2, "c": 3}, label_divisor=1000)))
    network = Oracle(things=(1, 2), divisor=1000, classes=3)
    (found,) = predict_case(network, as_data(*layers), thing_classes=(1, 2), stuff_classes=(3,), **SETTINGS)
    assert same_objects(as_map(found), truth)


class AnySize(Oracle):
    """Takes tiles of any size that 8 divides; ``sizes`` are those that it was given, batches first."""

    tile_divisor = (8, 8)

    def __init__(self):
        super().__init__()
        self.sizes = []

    def predict_instances(self, image):
        self.sizes.append((len(image), *image.shape[2:]))
        self.tile = image.shape[2:]
        return super().predict_instances(image)


@pytest.mark.parametrize(
    ("shape", "batch_size", "sizes"),
    [
        ((120, 64), 1, {(2, 120, 64)}),  # all of the image, two views at once
        ((20, 30), 1, {(4, 64, 64)}),
        ((126, 127), 4, {(4, 128, 128)}),
        ((300, 290), 1, {(1, 128, 128)}),  # four times the planned tile
    ],
)
def test_a_network_of_any_size_gets_tiles_as_large_as_memory_allows(shape, batch_size, sizes):
    truth, network = grid_of_cells(shape), AnySize()
    (found,) = predict_case(network, as_data(truth), thing_classes=(1,), batch_size=batch_size, **SETTINGS)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    assert set(network.sizes) == sizes


class OneFoldMisses(Oracle):
    """With a score below one half this fold does not see the object 2."""

    def _answer(self, layers):
        return super()._answer(layers * (layers != 2) if self.score < 0.5 else layers)


def test_scores_are_averaged_over_folds_and_what_most_of_them_miss_is_left_out():
    truth = np.zeros((90, 90), np.int32)
    truth[5:20, 30:60], truth[40:70, 40:70] = 1, 2
    network = OneFoldMisses()
    states = [{"score": torch.tensor(score)} for score in (0.9, 0.4, 0.8)]
    settings = {**SETTINGS, "thing_classes": (1,), "states": states}
    (found,) = predict_case(network, as_data(truth), score_threshold=0.1, **settings)
    assert found.scores == pytest.approx([0.7, 1.7 / 3], abs=1e-6)
    (found,) = predict_case(network, as_data(truth), score_threshold=0.6, **settings)
    assert found.scores == pytest.approx([0.7], abs=1e-6)
    assert same_objects(as_map(found), decode(np.where(truth == 1, truth, 0)[None], format_of(dataset())))


class Lopsided(Oracle):
    """Sees objects in the upper left quarter of its input only, so that each mirroring finds others."""

    def _answer(self, layers):
        seen = np.zeros_like(layers)
        quarter = (slice(None), *(slice(edge // 2) for edge in self.tile))
        seen[quarter] = layers[quarter]
        return super()._answer(seen)


def test_it_is_said_where_queries_run_out():
    truth = grid_of_cells((64, 150))
    network, told = Oracle(), []
    network.num_queries = len(np.unique(truth)) - 1  # more than any tile shows
    predict_case(network, as_data(truth), thing_classes=(1,), warn=told.append, **SETTINGS)
    assert not told
    network.num_queries = 10
    predict_case(network, as_data(truth), thing_classes=(1,), warn=told.append, **SETTINGS)
    assert len(told) == 1 and "each of the network's 10 queries found an object" in told[0]
    predict_case(network, as_data(truth), thing_classes=(1,), warn=told.append, score_threshold=0.95, **SETTINGS)
    assert len(told) == 1, "doubtful objects fill the queries of any tile"


def test_every_mirroring_is_looked_at_and_mapped_back():
    truth = np.zeros(TILE, np.int32)
    corners = [(2, 2), (50, 6), (8, 40), (44, 52)]
    for number, (y, x) in enumerate(corners, 1):
        truth[y : y + 9, x : x + 5] = number
    (found,) = predict_case(Lopsided(), as_data(truth), thing_classes=(1,), score_threshold=0.0, **SETTINGS)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    assert found.scores == pytest.approx([0.9 / 4] * 4)
    settings = {**SETTINGS, "mirror_axes": (1,)}
    (found,) = predict_case(Lopsided(), as_data(truth), thing_classes=(1,), score_threshold=0.0, **settings)
    assert sorted(map(tuple, found.boxes[:, :2].tolist())) == [(2, 2), (8, 40)]


def test_in_space_eight_views_are_looked_at_and_mapped_back():
    truth = np.zeros(CUBE, np.int32)
    corners = list(itertools.product((1, 8), (1, 14), (2, 11)))
    for number, (z, y, x) in enumerate(corners, 1):
        truth[z : z + 3, y : y + 4, x : x + 2] = number
    network = Lopsided(tile=CUBE)
    (found,) = predict_case(network, as_data(truth), thing_classes=(1,), score_threshold=0.0, **IN_SPACE)
    assert network.calls == 8
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    assert found.scores == pytest.approx([0.9 / 8] * 8)


def test_views_and_folds_of_a_volume_are_kept_for_one_step_only(monkeypatch):
    """Eight views and three folds of each tile are there at once, not those of the whole volume."""
    alive, most, stock = weakref.WeakSet(), 0, case_prediction._tile_detections

    def watched(*arguments):
        nonlocal most
        view = stock(*arguments)
        alive.add(view)
        most = max(most, len(alive))
        return view

    monkeypatch.setattr(case_prediction, "_tile_detections", watched)
    truth = grid_of_cells((12, 40, 44), pitch=8, edge=7)
    network, settings = Oracle(tile=CUBE), {**IN_SPACE, "overlap": (4, 8, 8)}
    states = [{"score": torch.tensor(score)} for score in (0.9, 0.6, 0.6)]
    (found,) = predict_case(network, as_data(truth), thing_classes=(1,), states=states, batch_size=2, **settings)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    assert found.scores == pytest.approx([0.7] * len(found), abs=1e-6)
    tiles = len(plan_tiles(truth.shape, CUBE, (4, 8, 8)))
    assert network.calls == 24 * tiles / 2 > 24
    assert most == 2 * 16 + 8  # the first of two tiles is merged before the last fold sees the second


def test_the_hook_answers_for_instance_networks_only(capsys):
    description = dataset()
    truth = np.stack([grid_of_cells((70, 80), seed=seed) for seed in range(3)])
    predictor = oracle_predictor(Oracle(), plans(description), description)
    data = torch.from_numpy(truth[None].astype(np.float32))
    packed = predictor.predict_logits_from_preprocessed_data(data)
    assert (packed.dtype, packed.ndim) == (torch.uint8, 1)
    printed = capsys.readouterr().out
    assert printed.count("is a volume of 3 slices: objects are predicted slice by slice") == 1
    # nnU-Net's trainer calls this one
    assert torch.equal(packed, predictor.predict_sliding_window_return_logits(data))
    for found, ids in zip(unpack(packed.numpy()), truth, strict=True):
        assert same_objects(as_map(found), decode(ids[None], format_of(description)))

    capsys.readouterr()
    in_space = oracle_predictor(Oracle(tile=CUBE), plans(description, tile=CUBE), description)
    truth = grid_of_cells((14, 20, 30), pitch=6, edge=5)
    (found,) = unpack(in_space.predict_logits_from_preprocessed_data(as_data(truth)).numpy())
    assert same_objects(as_map(found), decode(truth[None], format_of(description)))
    assert "slice by slice" not in capsys.readouterr().out

    dense = nn.Conv2d(1, 2, 1)
    predictor = oracle_predictor(dense, plans(description), description)
    assert predictor.predict_logits_from_preprocessed_data(data).shape == (2, 3, 70, 80)


def test_mirroring_follows_the_predictor_and_the_number_of_batches_the_plan():
    description = dataset()
    network, data = Oracle(), torch.zeros(1, 1, 96, 96)  # 4 views of 2 × 2 tiles in batches of 3 are 6 batches
    oracle_predictor(network, plans(description), description).predict_logits_from_preprocessed_data(data)
    assert network.calls == 6
    network.calls = 0
    predictor = oracle_predictor(network, plans(description), description, use_mirroring=False)
    predictor.predict_logits_from_preprocessed_data(data)
    assert network.calls == 2


class Broken(Oracle):
    def predict_instances(self, image):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_shape_bug_shows_as_what_it_is(capsys):
    description = dataset()
    predictor = oracle_predictor(Broken(), plans(description), description)
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predictor.predict_logits_from_preprocessed_data(torch.zeros(1, 1, 64, 64))
    assert "memory" not in capsys.readouterr().out
    assert torch.get_num_threads() == threads


def test_compiled_networks_are_looked_into():
    network = Oracle()
    assert instance_network(torch.compile(network)) is network
    assert instance_network(nn.Conv2d(1, 1, 1)) is None


@pytest.mark.parametrize(
    ("window", "step", "expected"),
    [
        (None, 0.5, (32, 48)),
        (10, 0.9, (14, 14)),
        (40, 0.9, (32, 44)),
        (10, 0.25, (48, 72)),
        (None, 1.0, (4, 4)),
        ([3, 10, 40], 0.9, (7, 14, 44)),
        ([8, 10, 40], 0.5, (8, 32, 48)),
    ],
)
def test_tiles_overlap_as_far_as_a_large_object_needs(window, step, expected):
    arguments = {} if window is None else {"window": window}
    plan = {"patch_size": [16, 64, 96][-len(expected) :], "architecture": {"arch_kwargs": arguments}}
    assert tile_overlap(plan, step) == expected


def test_a_tile_that_no_network_reads_is_refused():
    with pytest.raises(InputError, match="cannot overlap by 64"):
        predict_case(Oracle(), torch.zeros(1, 1, 64, 64), thing_classes=(1,), **{**SETTINGS, "overlap": (64, 64)})
