"""Labels of many classes plane by plane, against nnU-Net's own sliding window, resampling and export."""

from __future__ import annotations

import doctest
import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.inference import export_prediction, predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor, nn

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.inference import label_planes, plane_prediction, plane_sums
from maskmed_nnu.nnunet.inference.plane_prediction import labels_wanted, predict_labels
from maskmed_nnu.nnunet.plans_handling.label_export import ARGUMENTS, FUNCTION

CLASSES = {"background": 0, **{f"class {number}": number for number in range(1, 12)}}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "left": 2, "right": 3}
ORDER = [4, 7, 2, 3]
STOCK_CONVERT = export_prediction.convert_predicted_logits_to_segmentation_with_correct_shape.__wrapped__
PATCH = (6, 8, 10)


class Waves(nn.Module):
    """Smooth logits that differ from tile to tile and from every side."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        kind = nn.Conv3d if dim == 3 else nn.Conv2d
        self.layers = nn.Sequential(kind(1, 8, 3, padding=1), nn.Tanh(), kind(8, heads, 3, padding=1))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(4)

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, image.shape[-1]) ** 2
        return self.layers(image * (1 + ramp))


def predictor_of(
    labels: dict, *, dim: int = 3, spacing=(1.0, 1.0, 1.0), forward=(0, 1, 2), folds: int = 1, mirroring=None, axes=None
) -> nnUNetPredictor:
    manager = LabelManager(labels, ORDER if labels is REGIONS else None)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    networks = []
    for fold in range(folds):
        torch.manual_seed(fold)
        networks.append(Waves(manager.num_segmentation_heads, dim).eval())
    predictor.network, predictor.label_manager = networks[0], manager
    predictor.list_of_parameters = [network.state_dict() for network in networks]
    predictor.list_of_parameters = [{k: v.clone() for k, v in state.items()} for state in predictor.list_of_parameters]
    predictor.allowed_mirroring_axes = axes
    configuration = {
        "patch_size": list(PATCH[-dim:]),
        "spacing": list(spacing[-dim:]),
        "previous_stage": None,
        "architecture": {},
        "resampling_fn_probabilities": FUNCTION,
        "resampling_fn_probabilities_kwargs": dict(ARGUMENTS),
        **({"mirroring": mirroring} if mirroring else {}),
    }
    predictor.configuration_manager = ConfigurationManager(configuration)
    backward = [forward.index(axis) for axis in range(3)]
    predictor.plans_manager = SimpleNamespace(
        plans={"plans_name": "P", "maskmed_nnu": {}}, transpose_forward=list(forward), transpose_backward=backward
    )
    return predictor


def properties_of(shape, *, spacing=(1.0, 1.0, 1.0), margin: int = 0) -> dict:
    """Of an image whose crop has ``shape``, in the plan's order, with ``margin`` voxels of nothing around it."""
    return {
        "spacing": list(spacing),
        "shape_after_cropping_and_before_resampling": tuple(shape),
        "shape_before_cropping": tuple(edge + 2 * margin for edge in shape),
        "bbox_used_for_cropping": [[margin, margin + edge] for edge in shape],
    }


def image_of(shape) -> Tensor:
    values = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, *shape))).float()
    return nn.functional.avg_pool3d(values, 3, 1, 1)[0] * 3


def assert_alike(predictor, labels, logits, properties) -> None:
    """``labels`` are those of nnU-Net's export of ``logits``, where its best two differ by more than its rounding."""
    manager = predictor.label_manager
    stock, probabilities = STOCK_CONVERT(
        logits, predictor.plans_manager, predictor.configuration_manager, manager, properties, return_probabilities=True
    )
    if manager.has_regions:
        clear = (np.abs(probabilities - 0.5) > 0.001).all(0)
    else:
        best = np.sort(probabilities, 0)[-2:]
        clear = best[1] > 1.01 * best[0]
    assert labels.shape == stock.shape and labels.dtype == stock.dtype
    assert len(np.unique(stock)) > 3 and clear.mean() > 0.9
    np.testing.assert_array_equal(labels[clear], stock[clear])


def convert(predictor, predicted, properties):
    return export_prediction.convert_predicted_logits_to_segmentation_with_correct_shape(
        predicted, predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, properties
    )


def test_examples():
    assert doctest.testmod(label_planes).failed == 0


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize(
    ("spacing", "planned", "shape", "target"),
    [
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (9, 11, 12), (9, 11, 12)),
        ((0.5, 0.6, 1.0), (1.0, 1.0, 1.0), (9, 11, 12), (18, 18, 12)),
        ((2.0, 2.0, 2.0), (1.0, 1.5, 1.0), (20, 16, 22), (10, 12, 11)),
        ((1.0, 1.0, 5.0), (5.0, 1.0, 1.0), (9, 10, 14), (13, 14, 10)),
        ((1.0, 4.0, 1.0), (1.3, 5.0, 1.3), (9, 10, 14), (12, 13, 18)),
        ((1.0, 1.0, 1.0), (1.2, 1.2, 5.0), (9, 10, 4), (11, 12, 19)),
    ],
    ids=["same grid", "finer", "coarser", "thick in the image", "thick rows", "thick columns"],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_of_logits(labels, spacing, planned, shape, target, axis):
    predictor = predictor_of(labels, spacing=planned, forward=(2, 0, 1))
    own = [spacing[axis] for axis in (1, 2, 0)]
    properties = properties_of(target, spacing=own, margin=2)
    heads = predictor.label_manager.num_segmentation_heads
    logits = np.random.default_rng(0).normal(size=(heads, *shape)).astype(np.float16) * 4
    planes = label_planes.LabelPlanes.of_image(predictor, properties, shape=shape, axis=axis)
    for index in range(shape[axis]):
        planes.add(torch.from_numpy(logits.take(index, axis + 1)))
        assert len(planes.kept) <= 2
    labels = label_planes.revert_cropping(predictor, planes.labels.numpy(), properties)
    assert_alike(predictor, labels, logits, properties)
    if axis == 0:
        np.testing.assert_array_equal(convert(predictor, logits, properties), labels)


@pytest.mark.parametrize("fault", [np.inf, np.nan])
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_numbers_that_are_not_finite_are_no_labels(fault, labels):
    predictor = predictor_of(labels)
    logits = np.zeros((predictor.label_manager.num_segmentation_heads, 2, 3, 4), np.float32)
    logits[1, 1, 2, 3] = fault
    with pytest.raises(InputError, match="contain NaN or infinity"):
        convert(predictor, logits, properties_of((2, 3, 4)))


SWAP = {"axes": [0, 1, 2], "swap": {"2": [[2, 3]]}}


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((15, 13, 12), {}),
        ((9, 20, 31), {"axes": (0, 1, 2), "folds": 3}),
        ((5, 7, 26), {"axes": (0, 2)}),
        ((13, 17, 23), {"axes": (0, 1, 2), "mirroring": SWAP, "folds": 2}),
        ((5, 9, 11), {"axes": (0, 1, 2), "mirroring": SWAP}),
        ((21, 9, 17), {"dim": 2, "axes": (0, 1), "folds": 2}),
        ((3, 9, 17), {"dim": 2, "axes": (0, 1), "mirroring": {"axes": [0, 1], "swap": {"1": [[2, 3]]}}}),
    ],
    ids=["one", "mirrored, folds", "small", "partners, folds", "partners, small", "slices", "partners 2d"],
)
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_the_sliding_window(shape, options, labels, monkeypatch):
    # in half precision nnU-Net counts corners of images, where tiles weigh 6e-8, in multiples of that
    monkeypatch.setattr(torch, "half", torch.float32)
    exact = functools.partial(predict_from_raw_data.compute_gaussian, dtype=torch.float32)
    monkeypatch.setattr(predict_from_raw_data, "compute_gaussian", exact)
    predictor = predictor_of(labels, spacing=(1.0, 1.4, 1.4), forward=(1, 2, 0), **options)
    properties = properties_of((shape[0], *(round(1.4 * edge) for edge in shape[1:])), margin=1)
    image = image_of(shape)
    whole = predictor.predict_logits_from_preprocessed_data(image)
    with labels_wanted(predictor, properties):
        predicted = predictor.predict_logits_from_preprocessed_data(image)
    assert predicted.dtype == torch.uint8 and not hasattr(predictor, "image_properties")
    assert predictor.allowed_mirroring_axes == options.get("axes")
    assert_alike(predictor, convert(predictor, predicted.numpy(), properties), whole.numpy(), properties)


def test_a_mirrored_image_is_the_mirrored_prediction():
    predictor = predictor_of(CLASSES, axes=(0, 1, 2), mirroring=SWAP)
    image, properties = image_of((9, 8, 17)), properties_of((9, 8, 17))
    with labels_wanted(predictor, properties):
        here = predict_labels(predictor, image)
        there = predict_labels(predictor, image.flip(3)).flip(2)
    partner = torch.tensor([0, 1, 3, 2, *range(4, 12)])
    assert torch.equal(partner[here.long()], there.long())


def test_few_planes_of_logits_are_kept(monkeypatch):
    """Those that tiles of one step reach, along the axis of which that is the smallest share."""
    most, stock = 0, plane_sums.PlaneSums.add

    def add(sums, *arguments):
        nonlocal most
        stock(sums, *arguments)
        most = max(most, len(sums.planes) * sums.plane_shape[0] * sums.plane_shape[1])

    monkeypatch.setattr(plane_sums.PlaneSums, "add", add)
    predictor = predictor_of(CLASSES, axes=(0,), folds=2)
    with labels_wanted(predictor, properties_of((9, 200, 20))):
        predict_labels(predictor, image_of((9, 200, 20)))
    assert most <= 9 * 20 * (8 + plane_prediction.STEP)


def test_from_files_to_the_process_that_exports():
    """`predict_from_data_iterator` sends labels, not logits, unless probabilities are wanted."""
    sent = []

    class Pool:
        _pool: list = []

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def apply_async(self, function, arguments):
            sent.append(arguments[0])
            return SimpleNamespace(get=lambda timeout=None: function(*arguments), ready=lambda: True)

    predictor, image = predictor_of(CLASSES), image_of((9, 11, 12))
    cases = [{"data": image, "ofile": None, "data_properties": properties_of((9, 11, edge))} for edge in (12, 24)]
    with pytest.MonkeyPatch.context() as patched:
        context = SimpleNamespace(Pool=lambda _: Pool())
        patched.setattr("nnunetv2.inference.predict_from_raw_data.multiprocessing.get_context", lambda _: context)
        labels = predictor.predict_from_data_iterator(iter(cases))
        assert [one.shape for one in labels] == [(9, 11, 12), (9, 11, 24)]
        assert [one.shape for one in sent] == [(9, 11, 12), (9, 11, 24)]
        assert predictor.predict_from_data_iterator(iter(cases), True)[1][1].shape == (12, 9, 11, 24)
        del predictor.plans_manager.plans["maskmed_nnu"]
        predictor.predict_from_data_iterator(iter(cases))
        assert [one.ndim for one in sent[2:]] == [4] * 4
