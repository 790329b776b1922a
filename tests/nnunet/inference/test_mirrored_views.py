"""A prediction of a mirrored image is the mirrored prediction with partners exchanged, voxel for voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor, nn

from maskmed_nnu.nnunet.inference.mirrored_views import mirrored_views, wrap_mirrored_views
from maskmed_nnu.nnunet.plans_handling.mirroring import mirroring_of

PATCH = (6, 8, 10)
PLAIN = {"labels": {"background": 0, "left": 1, "right": 2, "liver": 3}}
REGIONS = {
    "labels": {"background": 0, "body": [1, 2, 3], "left": 1, "right": 2},
    "regions_class_order": [3, 1, 2],
}
TORN = {"labels": {"background": 0, "body": [1, 2, 3], "left and liver": [1, 3]}, "regions_class_order": [2, 1]}
SWAP = {"2": [[1, 2]]}


class Scrambler(nn.Module):
    """Looks different from every side."""

    def __init__(self, channels: int, heads: int, dim: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        kind = nn.Conv3d if dim == 3 else nn.Conv2d
        self.layers = nn.Sequential(kind(channels, 8, 3, padding=1), nn.ReLU(), kind(8, heads, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, image.shape[-1]) ** 2
        return self.layers(image * (1 + ramp)) + ramp


def predictor_of(dataset: dict, section: dict | None, *, axes=(0, 1, 2), cascaded: bool = False) -> nnUNetPredictor:
    wrap_mirrored_views(nnUNetPredictor)
    labels = LabelManager(dataset["labels"], dataset.get("regions_class_order"))
    dim = len(axes or (0, 1, 2))
    configuration = {
        "patch_size": list(PATCH[-dim:]),
        "previous_stage": "3d_lowres" if cascaded else None,
        "architecture": {},
    }
    configuration |= {} if section is None else {"mirroring": section}
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.network = Scrambler(1 + 3 * cascaded, labels.num_segmentation_heads, dim).eval()
    predictor.label_manager, predictor.allowed_mirroring_axes = labels, axes
    predictor.configuration_manager = ConfigurationManager(configuration)

    class Plans:
        plans = {"plans_name": "P"}

    predictor.plans_manager = Plans()
    return predictor


def image_of(channels: int = 1, shape: tuple[int, int, int] = (9, 8, 17)) -> Tensor:
    """Of several tiles, which do not lie symmetrically."""
    return torch.from_numpy(np.random.default_rng(1).normal(size=(channels, *shape))).float()


def assert_exchanged(predictor: nnUNetPredictor, logits: Tensor, back: Tensor) -> None:
    """``back``, of the mirrored image, says left where ``logits`` say right, but where two are equal or both hold."""
    labels = predictor.label_manager
    if labels.has_regions:
        undecided = ((logits[1] > 0) & (logits[2] > 0)).numpy()
    else:
        best = logits.topk(2, 0).values
        undecided = (best[0] == best[1]).numpy()
        assert undecided.mean() < 0.01
    here, there = (np.asarray(labels.convert_logits_to_segmentation(one.numpy()), int) for one in (logits, back))
    assert len(np.unique(here)) > 1, "there is something to see"
    expected = np.select([here == 1, here == 2], [2, 1], here)
    np.testing.assert_array_equal(np.where(undecided, 0, there), np.where(undecided, 0, expected))
    assert not np.array_equal(there, here)


@pytest.mark.parametrize("dataset", [PLAIN, REGIONS], ids=["labels", "regions"])
@pytest.mark.parametrize("axes", [(2,), (0, 1, 2)])
def test_a_mirrored_image(dataset, axes):
    predictor = predictor_of(dataset, {"axes": [0, 1, 2], "swap": SWAP}, axes=(0, 1, 2))
    predictor.allowed_mirroring_axes = axes
    image = image_of()
    logits = predictor.predict_sliding_window_return_logits(image)
    mirrored = predictor.predict_sliding_window_return_logits(image.flip(3)).flip(3)
    assert_exchanged(predictor, logits, mirrored)


def test_the_stage_before_is_mirrored_with_its_labels_exchanged():
    predictor = predictor_of(PLAIN, {"axes": [0, 1, 2], "swap": SWAP}, cascaded=True)
    image = image_of(channels=4)
    logits = predictor.predict_sliding_window_return_logits(image)
    mirrored = predictor.predict_sliding_window_return_logits(image[[0, 2, 1, 3]].flip(3)).flip(3)
    assert_exchanged(predictor, logits, mirrored)


def test_a_configuration_of_slices():
    predictor = predictor_of(PLAIN, {"axes": [0, 1], "swap": {"1": [[1, 2]]}}, axes=(0, 1))
    image = image_of(shape=(2, 9, 17))
    logits = predictor.predict_sliding_window_return_logits(image)
    mirrored = predictor.predict_sliding_window_return_logits(image.flip(3)).flip(3)
    assert_exchanged(predictor, logits, mirrored)


def test_an_axis_that_tears_a_region_apart_is_left_out_of_the_views():
    labels = LabelManager(TORN["labels"], TORN["regions_class_order"])
    plans = {"plans_name": "P"}
    mirroring = mirroring_of(plans, {"patch_size": PATCH, "mirroring": {"axes": [0, 1, 2], "swap": SWAP}}, labels)
    views = mirrored_views(mirroring, (0, 1, 2), labels, channels=1, cascaded=False)
    assert [view.axes for view in views] == [(0,), (1,), (0, 1)]
    assert all(view.outputs is None and view.inputs is None for view in views)


@pytest.mark.parametrize("section", [None, {"axes": [0, 1, 2], "swap": {}}])
def test_models_without_partners_are_predicted_as_ever(section):
    predictor, image = predictor_of(PLAIN, section), image_of()
    stock = nnUNetPredictor.predict_sliding_window_return_logits.__wrapped__
    assert torch.equal(predictor.predict_sliding_window_return_logits(image), stock(predictor, image))
    assert predictor.allowed_mirroring_axes == (0, 1, 2)


@pytest.mark.parametrize("axes", [None, (0, 1, 2)])
def test_no_views_where_none_are_wanted(axes):
    predictor, image = predictor_of(PLAIN, {"axes": [0, 1, 2], "swap": SWAP}, axes=axes), image_of()
    predictor.use_mirroring = axes is None
    found = predictor.predict_sliding_window_return_logits(image)
    predictor.allowed_mirroring_axes = None
    stock = nnUNetPredictor.predict_sliding_window_return_logits.__wrapped__
    assert torch.equal(found, stock(predictor, image))


def test_an_axis_that_the_plans_of_a_model_no_longer_name():
    predictor, image = predictor_of(PLAIN, {"axes": [0, 2], "swap": {}}), image_of()
    found = predictor.predict_sliding_window_return_logits(image)
    predictor.allowed_mirroring_axes = (0, 2)
    stock = nnUNetPredictor.predict_sliding_window_return_logits.__wrapped__
    assert torch.equal(found, stock(predictor, image))


def test_axes_that_the_training_or_the_plans_left_out():
    predictor = predictor_of(PLAIN, {"axes": [0, 2], "swap": SWAP}, axes=(0, 1, 2))
    labels = predictor.label_manager
    mirroring = mirroring_of({}, predictor.configuration_manager.configuration, labels)
    for trained, expected in (((0, 1, 2), [(0,), (2,), (0, 2)]), ((0, 1), [(0,)])):
        views = mirrored_views(mirroring, trained, labels, channels=1, cascaded=False)
        assert [view.axes for view in views] == expected
