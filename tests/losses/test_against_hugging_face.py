"""Matching cost, assignment and losses against transformers' Mask2Former: dense masks there, label maps here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maskmed_nnu.losses import SetCriterion, semantic_targets
from maskmed_nnu.losses.points import Points, PointSampler
from maskmed_nnu.losses.targets import SetTargets
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead

HEIGHT, WIDTH, CLASSES, QUERIES, LAYERS = 6, 8, 3, 7, 3
MATCHING_POINTS, LOSS_POINTS = 30, 25
WEIGHTS = {"class_weight": 0.7, "bce_weight": 1.3, "dice_weight": 2.1, "no_object_weight": 0.2}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def theirs(torchvision_ops):
    pytest.importorskip("transformers")
    from transformers.models.mask2former import modeling_mask2former

    return modeling_mask2former


def semantic() -> list[SetTargets]:
    labels = torch.randint(CLASSES, (2, 1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(3))
    labels[1][labels[1] == 2] = 0  # an absent class, and samples of different length
    return semantic_targets(labels, num_classes=CLASSES)


def overlapping_objects() -> list[SetTargets]:
    """More objects than queries in the first sample; two overlap layers."""
    random = torch.Generator().manual_seed(4)
    maps = torch.randint(6, (2, 2, HEIGHT, WIDTH), generator=random, dtype=torch.int32)
    layers = torch.arange(2).repeat_interleave(5)
    ids = torch.arange(1, 6).repeat(2)
    classes = torch.randint(CLASSES, (10,), generator=random)
    few = slice(2, 6)
    return [SetTargets(maps[0], layers, ids, classes), SetTargets(maps[1], layers[few], ids[few], classes[few])]


def voxel_centres(index: torch.Tensor) -> torch.Tensor:
    x, y = index % WIDTH, index // WIDTH
    return torch.stack([(x + 0.5) / WIDTH, (y + 0.5) / HEIGHT], -1)[None]


@pytest.mark.parametrize("targets", [semantic, overlapping_objects])
@pytest.mark.parametrize("points", ["dense", "sampled"])
def test_equals_mask2former(theirs, make_output, monkeypatch, points, targets):
    targets = targets()
    output = make_output(layers=LAYERS, queries=QUERIES, classes=CLASSES, spatial=(HEIGHT, WIDTH))
    head = DotProductMaskHead()
    everywhere = torch.arange(HEIGHT * WIDTH)
    random = torch.Generator().manual_seed(1)
    matching = everywhere if points == "dense" else torch.randint(HEIGHT * WIDTH, (MATCHING_POINTS,), generator=random)
    loss = everywhere if points == "dense" else torch.randint(HEIGHT * WIDTH, (LOSS_POINTS,), generator=random)

    num_points = None if points == "dense" else MATCHING_POINTS
    ours = SetCriterion(num_classes=CLASSES, mask_head=head, num_points=num_points, balanced_ratio=0, **WEIGHTS)
    costs = []
    compute = ours._cost
    ours._cost = lambda *args: costs.append(compute(*args)) or costs[-1]
    if points == "sampled":
        monkeypatch.setattr(PointSampler, "uniform", lambda self, count: matching.expand(2, -1))
        ours._uncertain_points = lambda *args: Points(loss.expand(2, -1), None)
    result = ours(output, targets)
    assert len(costs) == 1

    config = theirs.Mask2FormerConfig(
        num_labels=CLASSES,
        class_weight=WEIGHTS["class_weight"],
        mask_weight=WEIGHTS["bce_weight"],
        dice_weight=WEIGHTS["dice_weight"],
        no_object_weight=WEIGHTS["no_object_weight"],
        train_num_points=len(matching),
    )
    criterion = theirs.Mask2FormerLoss(config, {})
    criterion.sample_points_using_uncertainty = lambda masks, *args: voxel_centres(loss).expand(len(masks), -1, -1)
    monkeypatch.setattr(theirs.torch, "rand", lambda *args, **kwargs: voxel_centres(matching))
    solve, their_costs = theirs.linear_sum_assignment, []
    monkeypatch.setattr(
        theirs, "linear_sum_assignment", lambda cost: their_costs.append(np.asarray(cost)) or solve(cost)
    )

    mask_logits = head.dense(output.mask_embeddings, output.mask_features).unflatten(-1, (HEIGHT, WIDTH))
    masks = [t.at_points(None).float().unflatten(-1, (HEIGHT, WIDTH)) for t in targets]
    classes = [t.classes for t in targets]
    total = 0
    for layer in range(LAYERS):
        parts = criterion(mask_logits[layer], output.class_logits[layer], masks, classes)
        torch.testing.assert_close(result.classes[layer], parts["loss_cross_entropy"], **CLOSE)
        torch.testing.assert_close(result.bce[layer], parts["loss_mask"], **CLOSE)
        torch.testing.assert_close(result.dice[layer], parts["loss_dice"], **CLOSE)
        total = total + (
            WEIGHTS["class_weight"] * parts["loss_cross_entropy"]
            + WEIGHTS["bce_weight"] * parts["loss_mask"]
            + WEIGHTS["dice_weight"] * parts["loss_dice"]
        )
        for b, target in enumerate(targets):
            cost = costs[0][layer, b, :, : len(target.classes)].numpy()
            theirs_here = their_costs[2 * layer + b]
            np.testing.assert_allclose(cost, theirs_here, **CLOSE)
            assert np.array_equal(solve(cost), solve(theirs_here))
    torch.testing.assert_close(result.total, total / LAYERS, **CLOSE)

    for tensor in output[:3]:
        (here,) = torch.autograd.grad(result.total, tensor, retain_graph=True)
        (there,) = torch.autograd.grad(total / LAYERS, tensor, retain_graph=True)
        torch.testing.assert_close(here, there, **CLOSE)
