"""The contrastive loss against loops over pixels, its minimum, its gradient and its draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maskmed_nnu.losses.contrastive import InstanceContrastiveLoss, sample_pixels

SHAPE = (6, 7)
EVERY = SHAPE[0] * SHAPE[1]
"""As many pixels as there are, so that nothing is left to chance."""


def scene(seed: int = 0) -> Tensor:
    """Ids ``[2, 2, *SHAPE]`` with overlaps, a single pixel, and pixels that nobody knows."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.zeros(2, 2, *SHAPE, dtype=torch.int16)
    ids[0, 0] = torch.randint(0, 4, SHAPE, generator=random).short() * 5
    ids[0, 1, 1:4, 2:5] = 7
    ids[0, 1, 5, 6] = 8
    ids[0, :, 4, :2] = -1
    ids[1, 0, :2, :3] = 3
    ids[1, 0, 4:, 5:] = 9
    return ids


def unit(*shape: int, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=random, dtype=torch.float64), dim=1)


def by_loops(embeddings: Tensor, ids: Tensor, *, temperature: float, reach: float) -> float:
    """The definition, pixel by pixel."""
    of_objects = []
    for e, layers in zip(embeddings, ids, strict=True):
        places = [(y, x) for y in range(SHAPE[0]) for x in range(SHAPE[1])]
        instance_index = {p: {int(i) for i in layers[(slice(None), *p)] if i > 0} for p in places}
        for number in sorted(set().union(*instance_index.values())):
            of_anchors = []
            for a in (p for p in places if number in instance_index[p]):
                kernel = {p: math.exp(float(e[(slice(None), *a)] @ e[(slice(None), *p)]) / temperature) for p in places}
                rivals = [
                    kernel[p]
                    for p in places
                    if instance_index[p] and not instance_index[p] & instance_index[a] and math.dist(a, p) <= reach
                ]
                partners = [kernel[p] for p in places if p != a and instance_index[p] & instance_index[a]]
                if rivals and partners:
                    of_anchors.append(-sum(math.log(k / (k + sum(rivals))) for k in partners) / len(partners))
            if of_anchors:
                of_objects.append(sum(of_anchors) / len(of_anchors))
    return sum(of_objects) / len(of_objects)


@pytest.mark.parametrize("reach", [None, 2.5])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_it_is_the_definition(temperature, reach):
    ids = scene()
    embeddings = unit(2, 5, *SHAPE)
    loss = InstanceContrastiveLoss(temperature=temperature, pixels=EVERY, reach=reach)
    expected = by_loops(embeddings, ids, temperature=temperature, reach=reach or math.inf)
    assert float(loss(embeddings, ids)) == pytest.approx(expected, rel=1e-12)


def test_unlike_embeddings_of_few_objects_reach_the_known_minimum():
    """With ``K`` objects of ``n`` pixels each, the simplex is best: cosines of 1 within, -1 / (K - 1) between them."""
    objects, pixels, temperature = 3, 12, 0.5
    ids = torch.arange(1, objects + 1).repeat_interleave(pixels).view(1, 1, 6, 6)
    rivals = (objects - 1) * pixels
    minimum = math.log1p(rivals * math.exp((-1 / (objects - 1) - 1) / temperature))
    loss = InstanceContrastiveLoss(temperature=temperature, pixels=36)
    free = unit(1, 4, 6, 6).requires_grad_()
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        value = loss(F.normalize(free, dim=1), ids)
        value.backward()
        return value

    assert step().item() > 1.5 * minimum
    optimiser.step(step)
    assert step().item() == pytest.approx(minimum, rel=1e-5)


@pytest.mark.parametrize("reach", [None, 3.0])
def test_gradients(reach):
    loss = InstanceContrastiveLoss(temperature=0.3, pixels=EVERY, reach=reach)
    embeddings = unit(2, 3, *SHAPE).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, scene()), (embeddings,))


@pytest.mark.parametrize("number", [0, 4, -1])
def test_nothing_to_compare_is_zero(number):
    ids = torch.zeros(2, 1, *SHAPE, dtype=torch.int16)
    ids[0, 0, :3] = number
    embeddings = unit(2, 3, *SHAPE).requires_grad_()
    value = InstanceContrastiveLoss()(embeddings, ids)
    value.backward()
    assert value.item() == 0
    assert embeddings.grad.abs().max() == 0


def test_distant_objects_need_not_differ_within_a_reach():
    ids = torch.zeros(1, 1, 4, 30, dtype=torch.int64)
    ids[..., :3], ids[..., 5:8], ids[..., 25:] = 1, 2, 3
    rows = torch.eye(3, dtype=torch.float64)[:, [0, 0, 1, 0]]  # the first and the last object look alike
    embeddings = rows[:, ids[0, 0]][None]
    near, anywhere = (InstanceContrastiveLoss(temperature=0.1, reach=reach)(embeddings, ids) for reach in (8.0, None))
    assert float(near) < 0.01
    assert float(anywhere) > 1


def test_half_precision_is_computed_in_single():
    ids, embeddings = scene(), unit(2, 5, *SHAPE).bfloat16()
    loss = InstanceContrastiveLoss(temperature=0.01, pixels=EVERY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(embeddings, ids)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(embeddings.double(), ids)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_objects_are_drawn_alike_until_they_are_used_up(dtype):
    ids = torch.zeros(1, 2, 64, 64, dtype=dtype)
    ids[0, 0, :40], ids[0, 0, 50:53, :30], ids[0, 0, 60, :5] = 1, 2, 3
    ids[0, 1, 43:47, 10:40], ids[0, :, 62:] = 4, -1  # all more than three pixels apart
    before = ids.clone()
    sampled = sample_pixels(ids, 100, torch.Generator().manual_seed(0))
    assert torch.equal(ids, before)
    assert sampled.valid.all() and sampled.pixel.shape == (1, 100)
    assert sampled.pixel.unique().numel() == 100
    expected = ids.flatten(2)[0][:, sampled.pixel[0]].int()
    assert torch.equal(sampled.instance_index[0], expected)
    assert (expected > 0).any(0).all()
    count = torch.bincount(expected.flatten(), minlength=5)
    assert count[3] == 5
    # 95 draws of three objects alike, within three standard deviations
    assert ((count[[1, 2, 4]] - 95 / 3).abs() < 14).all()


def test_objects_that_touch_are_drawn_twice_as_often_half_of_it_where_they_touch():
    ids = torch.zeros(1, 2, 64, 64, dtype=torch.int16)
    ids[0, 0, :20], ids[0, 1, 20:40], ids[0, 0, 44:64] = 1, 2, 3
    pixels = [sample_pixels(ids, 80, torch.Generator().manual_seed(seed)).pixel[0] for seed in range(20)]
    row = torch.cat(pixels) // 64
    object_of_row = ids[0, :, :, 0].amax(0)
    count = torch.bincount(object_of_row[row], minlength=4)
    # of 1600 draws 2 : 2 : 1, within three standard deviations
    assert ((count[1:] - torch.tensor([640, 640, 320])).abs() < 60).all()
    beside = ((row >= 17) & (row < 23)).sum()  # half of the draws and of the others 3 of 20 rows
    assert abs(int(beside) - 1280 * (0.5 + 0.5 * 3 / 20)) < 60
    # nothing to be near to: drawn anywhere in the object
    assert torch.histc(row[row >= 44].float(), 4, 44, 64).min() > 50


def test_a_sample_with_few_pixels_gives_all_of_them_once():
    ids = torch.zeros(2, 1, 8, 8, dtype=torch.int16)
    ids[0, 0, 2, 1:4], ids[1, 0, 3:, :] = 6, 2
    sampled = sample_pixels(ids, 20)
    assert sampled.valid.sum(1).tolist() == [3, 20]
    assert sampled.pixel[0, sampled.valid[0]].sort()[0].tolist() == [17, 18, 19]
    assert (sampled.instance_index[0, 0] > 0).sum() == 3


def test_draws_follow_the_generator():
    ids, embeddings = scene(), unit(2, 5, *SHAPE)
    loss = InstanceContrastiveLoss(pixels=10)
    first, again, other = (loss(embeddings, ids, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert float(first) == float(again) != float(other)
