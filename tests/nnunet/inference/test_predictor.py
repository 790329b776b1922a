"""Objects of one case through tiles, mirrorings and folds, with an oracle in the network's place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from maskmed_nnu.errors import InputError
from maskmed_nnu.instances.detections import Detections, from_instance_map, to_instance_map, unpack
from maskmed_nnu.instances.instance_map import InstanceMap, decode
from maskmed_nnu.instances.metrics import InstanceMetrics
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


def as_map(detections: Detections, layers: int = 9) -> InstanceMap:
    ids, classes, dropped = to_instance_map(detections, layers)
    assert dropped == 0
    stuff = np.zeros(ids.shape[1:], np.int32) if detections.stuff is None else detections.stuff.astype(np.int32)
    return InstanceMap(ids, classes, stuff)


def as_data(*layers: np.ndarray) -> torch.Tensor:
    """``[C, 1, H, W]``"""
    return torch.from_numpy(np.stack(layers)[:, None].astype(np.float32))


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


def test_an_object_larger_than_a_tile_and_an_empty_image():
    truth = np.zeros((150, 170), np.int32)
    truth[10:140, 20:150] = 3
    (found,) = predict_case(Oracle(), as_data(truth), thing_classes=(1,), **SETTINGS)
    assert same_objects(as_map(found), decode(truth[None], format_of(dataset())))
    (found,) = predict_case(Oracle(), as_data(truth * 0), thing_classes=(1,), **SETTINGS)
    assert (len(found), found.shape) == (0, (150, 170))


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
        seen[:, :32, :32] = layers[:, :32, :32]
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

    dense = nn.Conv2d(1, 2, 1)
    predictor = oracle_predictor(dense, plans(description), description)
    assert predictor.predict_logits_from_preprocessed_data(data).shape == (2, 3, 70, 80)


def test_mirroring_follows_the_predictor_and_the_number_of_batches_the_plan():
    description = dataset()
    network, data = Oracle(), torch.zeros(1, 1, 96, 96)  # 2 × 2 tiles in batches of 3 are 2 batches
    oracle_predictor(network, plans(description), description).predict_logits_from_preprocessed_data(data)
    assert network.calls == 2 * 4
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
    [(None, 0.5, (32, 48)), (10, 0.9, (14, 14)), (40, 0.9, (32, 44)), (10, 0.25, (48, 72)), (None, 1.0, (4, 4))],
)
def test_tiles_overlap_as_far_as_a_large_object_needs(window, step, expected):
    arguments = {} if window is None else {"window": window}
    plan = {"patch_size": [64, 96], "architecture": {"arch_kwargs": arguments}}
    assert tile_overlap(plan, step) == expected


def test_a_tile_that_no_network_reads_is_refused():
    with pytest.raises(InputError, match="cannot overlap by 64"):
        predict_case(Oracle(), torch.zeros(1, 1, 64, 64), thing_classes=(1,), **{**SETTINGS, "overlap": (64, 64)})
