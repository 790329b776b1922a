from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from maskmed_nnu.losses.matcher import PairSums, assign
from maskmed_nnu.losses.pair_loss import log_sigmoid_sum, pair_loss


def test_assignment_is_the_cheapest():
    cost = torch.rand(2, 3, 4, 3, generator=torch.Generator().manual_seed(0))
    counts = [3, 2, 0]
    query = assign(cost, counts)
    for layer, sample in itertools.product(range(2), range(3)):
        n = counts[sample]
        cheapest = min(
            sum(cost[layer, sample, q, t].item() for t, q in enumerate(order))
            for order in itertools.permutations(range(4), n)
        )
        taken = query[layer, sample]
        assert sum(cost[layer, sample, taken[t], t].item() for t in range(n)) == pytest.approx(cheapest)
        assert taken[n:].tolist() == [-1] * (3 - n)


def test_more_targets_than_queries():
    query = assign(torch.tensor([[[[3.0, 1.0, 2.0]]]]), [3])
    assert query.tolist() == [[[-1, 0, -1]]]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_costs_that_are_not_finite_come_last(bad):
    query = assign(torch.tensor([[[[bad, 1.0], [1.0, bad]]]]), [2])
    assert query.tolist() == [[[1, 0]]]


def test_sums_do_not_depend_on_chunks_and_skip_what_does_not_count():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 40, generator=random, dtype=torch.float64)
    target_index = torch.randint(4, (2, 2, 40), generator=random)  # 3: nobody
    target_index[:, 1] = torch.where(target_index[:, 1] == target_index[:, 0], 3, target_index[:, 1])
    weight = torch.rand(2, 40, generator=random) > 0.3
    sums = PairSums(batch=2, rows=6, targets=3, like=logits)
    for part in (slice(0, 13), slice(13, 40)):
        sums.add(logits[..., part], target_index[..., part], weight[..., part])
    for b in range(2):
        x = logits[b][:, weight[b]]
        for t in range(3):
            y = (target_index[b] == t).any(0)[weight[b]].double().expand_as(x)
            bce = F.binary_cross_entropy_with_logits(x, y, reduction="none").mean(1)
            dice = 1 - (2 * (x.sigmoid() * y).sum(1) + 1) / (x.sigmoid().sum(1) + y.sum(1) + 1)
            torch.testing.assert_close(sums.bce()[b, :, t], bce)
            torch.testing.assert_close(sums.dice()[b, :, t], dice)


@pytest.mark.parametrize("points", [1, 2, 15, 16, 31, 4102])
def test_a_logarithm_of_products_of_sigmoids(points):
    x = torch.cat([torch.linspace(-120, 120, 4001), torch.linspace(-1, 1, 101)])
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(points))[:points]]
    counts = torch.arange(points) % 3 > 0
    x = torch.stack([x, x.flip(0)])[:, None].expand(2, 3, points)  # the weight [2, 1, points] is that of three rows
    counts = torch.stack([counts, ~counts])[:, None]
    terms = F.relu(x.double()) - F.softplus(x.double(), threshold=1000)
    near = {"rtol": 1e-6, "atol": 4e-6}  # what sixteen roundings may add up to
    torch.testing.assert_close(log_sigmoid_sum(x.sigmoid(), None).double(), terms.sum(-1), **near)
    masked = log_sigmoid_sum(x.sigmoid(), counts, out=torch.full((2, 3, points), 7.0)).double()
    torch.testing.assert_close(masked, (terms * counts).sum(-1), **near)


@pytest.mark.parametrize("weighted", [False, True])
def test_pair_loss_equals_the_plain_formula_and_its_gradient(weighted, monkeypatch):
    monkeypatch.setattr("maskmed_nnu.losses.pair_loss.chunk_size", lambda device: 130)  # several chunks
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, 17, generator=random, dtype=torch.float64).requires_grad_()
    weight = torch.rand(2, 17, generator=random) > 0.3 if weighted else None
    masks = torch.rand(2, 5, 17, generator=random) > 0.5
    masks = masks & weight[:, None] if weighted else masks
    bce, dice = pair_loss(logits, masks, weight)
    w = (weight if weighted else torch.ones(2, 17)).double()[:, None, None]
    y = masks.double()[:, :, None]
    plain = F.binary_cross_entropy_with_logits(logits, y.expand_as(logits), w, reduction="none").sum(-1) / w.sum(-1)
    s = logits.sigmoid() * w
    torch.testing.assert_close(bce, plain)
    torch.testing.assert_close(dice, 1 - (2 * (s * y).sum(-1) + 1) / (s.sum(-1) + y.sum(-1) + 1))
    assert torch.autograd.gradcheck(lambda x: pair_loss(x, masks, weight), (logits,))
    assert torch.autograd.gradcheck(lambda x: pair_loss(x + 0, masks, weight, overwrite=True), (logits,))
