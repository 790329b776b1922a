"""What each epoch's validation sees of a volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from maskmed_nnu.instances.metrics import InstanceMetrics
from maskmed_nnu.nnunet.preprocessing.instance_preprocessor import object_locations
from maskmed_nnu.nnunet.training.trainers.instance import InstanceTrainer
from maskmed_nnu.nnunet.training.validation_window import cut_off, validation_window
from tests.nnunet.oracle import Oracle, dataset, grid_of_cells, plans


def rows(*boxes):
    return {1: np.array([[n, *box] for n, box in enumerate(boxes, 1)], np.int32).reshape(-1, 7), 2: np.zeros((0, 7))}


def shape_of(window):
    return tuple(part.stop - part.start for part in window)


def test_a_window_holds_an_object_and_is_bounded_by_the_patch():
    shape, patch = (100, 300, 200), (16, 32, 32)
    lesions = rows((2, 3, 4, 6, 9, 9), (90, 290, 180, 96, 298, 190), (88, 280, 170, 91, 286, 180))
    window = validation_window(shape, patch, lesions)
    assert shape_of(window) == (24, 48, 48)
    starts, stops = [part.start for part in window], [part.stop for part in window]
    assert np.all(np.less_equal(starts, (88, 280, 170))) and np.all(np.greater_equal(stops, (91, 286, 180)))
    assert window == validation_window(shape, patch, lesions)
    middle = validation_window(shape, patch, rows())
    assert [part.start for part in middle] == [38, 126, 76]


def test_small_volumes_and_slices_are_seen_whole():
    assert validation_window((20, 40, 30), (16, 32, 32), rows((0, 0, 0, 1, 1, 1))) == np.s_[0:20, 0:40, 0:30]
    assert validation_window((20, 400, 300), (32, 32), {1: np.zeros((1, 6))}) == np.s_[0:20, 0:400, 0:300]


def test_objects_that_the_window_cuts_off_are_known():
    boxes = np.array([[0, 2, 2, 3, 5, 5], [2, 0, 2, 5, 3, 5], [1, 1, 1, 8, 4, 4], [1, 1, 6, 3, 4, 8]])
    shape, window = (8, 20, 20), np.s_[0:8, 4:12, 12:20]
    assert cut_off(boxes, window, shape).tolist() == [False, True, False, False]
    planes = np.array([[0, 0, 3, 3], [1, 1, 8, 8]])
    assert not cut_off(planes, np.s_[0:5, 0:8, 0:8], (5, 8, 8)).any()


def make_trainer(volume: np.ndarray, patch: tuple[int, ...]):
    """A trainer of the oracle, as far as validation goes, whose one case is ``volume [Z, Y, X]``."""
    description = dataset()
    trainer = InstanceTrainer.__new__(InstanceTrainer)
    trainer.configuration_manager = PlansManager(plans(description, tile=patch)).get_configuration(
        "2d" if len(patch) == 2 else "3d_fullres"
    )
    trainer.network, trainer.device = Oracle(tile=patch), torch.device("cpu")
    trainer.network.forward = lambda image: image
    trainer.loss = lambda output, target: output.mean()
    trainer._log_progress = lambda *_: None
    seg = np.stack([volume > 0, volume]).astype(np.int16)
    locations = object_locations(seg[1:], [1], len(patch))
    case = ("case", volume[None].astype(np.float32), seg, {"class_locations": locations})
    trainer._cases = lambda: iter([case])
    return trainer


@pytest.mark.parametrize("patch", [(12, 20, 16), (20, 16)])
def test_objects_of_a_volume_are_validated_in_space_or_slice_by_slice(patch):
    volume = grid_of_cells((30, 50, 40), pitch=6, edge=5)
    trainer = make_trainer(volume, patch)
    trainer._metrics, trainer._validation_images = InstanceMetrics(), trainer._cases()
    trainer.validation_step({"data": torch.zeros(1), "target": torch.zeros(1)})
    trainer.validation_step({"data": torch.zeros(1), "target": torch.zeros(1)})  # no case is left
    scores = trainer._metrics.compute()
    assert scores["AP"] == pytest.approx(1) and scores["PQ"] == 1
    assert trainer._metrics.ranked[0].images == (1 if len(patch) == 3 else 30)
    assert trainer.network.calls == (3 if len(patch) == 3 else 30 * 16 // 3)


def test_what_the_window_cuts_off_is_neither_found_nor_missed():
    volume = np.zeros((12, 60, 60), np.int32)
    volume[4:8, 20:30, 20:30], volume[4:8, 42:60, 20:30] = 1, 2
    trainer = make_trainer(volume, (12, 20, 16))
    trainer._metrics, trainer._validation_images = InstanceMetrics(), trainer._cases()
    trainer.network._answer = lambda layers: Oracle._answer(trainer.network, layers * (layers == 1))
    trainer.validation_step({"data": torch.zeros(1), "target": torch.zeros(1)})
    scores = trainer._metrics.compute()
    assert scores["AP"] == pytest.approx(1) and scores["F1@0.5"] == 1
