"""Masked attention is the formula, for every mask, and costs no tensor of positions by positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from maskmed_nnu.errors import InputError
from maskmed_nnu.networks.layers.maskattn_unet.mask_attention import (
    MASKS,
    MaskAttention,
    attend,
    hard_bias,
    random_bias,
    soft_bias,
)
from maskmed_nnu.networks.layers.stored_numbers import stored_numbers
from tests.networks.saved import kept_for_backward


def tokens(dim: int = 5, queries: int = 12, keys: int = 9, dtype=torch.float64) -> tuple[Tensor, ...]:
    """Two samples, three heads: queries, keys, values, a logit for each key."""
    torch.manual_seed(0)
    shapes = [(2, 3, queries, dim), (2, 3, keys, dim), (2, 3, keys, dim), (2, 3, keys)]
    return tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)


def explicit(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """The formula with the weights ``allowed [B, heads, M]`` of the keys written out."""
    weights = (query @ key.mT / query.shape[-1] ** 0.5).exp() * allowed[:, :, None]
    return weights / weights.sum(-1, keepdim=True) @ value


@pytest.mark.parametrize("dim", [5, 7, 8, 16])
def test_a_soft_mask_weighs_the_keys(dim):
    query, key, value, logits = inputs = tokens(dim)
    ours, formula = attend(query, key, value, soft_bias(logits)), explicit(query, key, value, logits.sigmoid())
    torch.testing.assert_close(ours, formula, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(ours)
    for got, expected in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(formula, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_a_hard_mask_leaves_the_keys_below_one_half_out():
    query, key, value, logits = tokens()
    ours, formula = attend(query, key, value, hard_bias(logits)), explicit(query, key, value, (logits >= 0).double())
    assert 0 < (logits >= 0).sum() < logits.numel()
    torch.testing.assert_close(ours, formula, rtol=1e-12, atol=1e-12)


def test_a_hard_mask_learns_as_a_soft_one_and_answers_as_a_hard_one():
    """Straight through: a key that is closed has the gradient that it would have if it were weighed."""
    torch.manual_seed(0)
    hard, soft = MaskAttention(8, mask="hard").double(), MaskAttention(8, mask="soft").double()
    soft.load_state_dict(hard.state_dict())
    for module in (hard, soft):
        torch.nn.init.constant_(module.mask.bias, 0.0)
        module.attention_norm, module.norm = torch.nn.Identity(), torch.nn.Identity()
        module.feed_forward = torch.nn.Sequential(torch.nn.Linear(8, 8)).double()
    soft.feed_forward.load_state_dict(hard.feed_forward.state_dict())
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    answers = [module(x) for module in (hard, soft)]
    torch.testing.assert_close(answers[0], hard.eval()(x))
    assert not torch.allclose(*answers)
    for answer in answers:  # linear after the attention, so that both hand the same gradient down
        answer.sum().backward()
    torch.testing.assert_close(hard.mask.weight.grad, soft.mask.weight.grad)
    torch.testing.assert_close(hard.value.weight.grad, soft.value.weight.grad)
    assert hard.mask.weight.grad.abs().min() > 0


def test_without_a_mask_it_is_plain_attention():
    query, key, value, logits = tokens()
    formula = explicit(query, key, value, torch.ones_like(logits))
    torch.testing.assert_close(attend(query, key, value, None), formula, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [soft_bias, hard_bias])
@pytest.mark.parametrize("logit", [-1.0, -100.0, -1e6])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_where_every_key_is_closed_all_are_open(bias, logit, dtype):
    query, key, value, _ = tokens(dim=64, dtype=dtype)
    logits = torch.full((2, 3, 9), logit, dtype=dtype if logit > -6e4 else torch.float32, requires_grad=True)
    ours = attend(query, key, value, bias(logits))
    torch.testing.assert_close(ours, attend(query, key, value, None), rtol=2e-2, atol=2e-3)
    ours.float().square().sum().backward()
    learning = (query, key, value, logits) if bias is soft_bias else (query, key, value)
    assert all(t.grad.isfinite().all() for t in learning)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_one_open_key_among_closed_ones_is_all_that_is_read(dtype):
    query, key, value, _ = tokens(dim=64, dtype=dtype)
    logits = torch.full((2, 3, 9), -3000.0, dtype=dtype)
    logits[..., 4] = 1
    for bias in (soft_bias, hard_bias):
        torch.testing.assert_close(attend(query, key, value, bias(logits)), value[:, :, 4:5].expand_as(query))


def test_a_random_mask_closes_half_of_the_keys_always_the_same_ones():
    closed = random_bias(4096, seed=3, device=torch.device("cpu")) < 0
    assert 0.47 < closed.float().mean() < 0.53
    other = random_bias(4096, seed=4, device=torch.device("cpu")) < 0
    assert 0.45 < (closed == other).float().mean() < 0.55
    following = (closed[1:] == closed[:-1]).float().mean()
    rows = closed.view(64, 64)
    below = (rows[1:] == rows[:-1]).float().mean()
    assert 0.45 < following < 0.55 and 0.45 < below < 0.55
    assert closed[:16].tolist() == FIRST_CLOSED  # a trained network depends on it
    assert all((random_bias(1, seed=seed, device=torch.device("cpu")) == 0).all() for seed in range(20))


FIRST_CLOSED = [bool(int(bit)) for bit in "0000100100111111"]


@pytest.mark.parametrize("key_stride", [1, 2])
@pytest.mark.parametrize("mask", MASKS)
def test_the_module_is_the_formula_of_the_text(mask, key_stride):
    torch.manual_seed(0)
    module = MaskAttention(8, heads=2, mask=mask, key_stride=key_stride, seed=1).double()
    for norm in (module.attention_norm, module.norm):
        torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    pooled = x.unfold(2, key_stride, key_stride).unfold(3, key_stride, key_stride).mean((-1, -2))
    expected = torch.empty_like(x)
    for b in range(2):
        columns, sources = x[b].reshape(8, -1).T, pooled[b].reshape(8, -1).T
        query, key, value = (
            linear(of).view(len(of), 2, 4)
            for linear, of in ((module.query, columns), (module.key, sources), (module.value, sources))
        )
        heads = []
        for head in range(2):
            scores = query[:, head] @ key[:, head].T / 2
            if mask == "soft":
                scores = scores + module.mask(sources)[:, head].sigmoid().log()
            elif mask == "hard":
                scores = scores.masked_fill(module.mask(sources)[:, head].sigmoid() < 0.5, -torch.inf)
            elif mask == "random":
                closed = random_bias(len(sources), seed=1, device=x.device) < 0
                scores = scores.masked_fill(closed, -torch.inf)
            heads.append(scores.softmax(-1) @ value[:, head])
        y = module.attention_norm(columns + module.project(torch.cat(heads, -1)))
        expected[b] = module.norm(y + module.feed_forward(y)).T.reshape(8, 4, 6)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mask", MASKS)
def test_memory_is_linear_in_the_positions_and_as_estimated(mask):
    module = MaskAttention(32, mask=mask)
    small, large = (kept_for_backward(module, torch.randn(1, 32, 16, n, requires_grad=True)) for n in (32, 128))
    assert large < 4.1 * small
    assert large < 4 * module.heads * (16 * 128) ** 2 / 10  # a tenth of the scores
    two = kept_for_backward(module, torch.randn(2, 32, 16, 128, requires_grad=True))
    assert stored_numbers(module, (32, 16, 128)) == pytest.approx(two / 8, rel=0.01)


def test_keys_of_a_stride_are_fewer():
    few, all_keys = (MaskAttention(32, key_stride=stride) for stride in (4, 1))
    x = torch.randn(2, 32, 32, 32)
    measured = kept_for_backward(few, x)
    assert measured < kept_for_backward(all_keys, x)
    assert stored_numbers(few, (32, 32, 32)) == pytest.approx(measured / 8, rel=0.01)


@pytest.mark.parametrize("mask", MASKS)
def test_the_fused_kernel_takes_it(mask):
    module = MaskAttention(32, mask=mask)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        module(torch.randn(1, 32, 8, 8)).sum().backward()


def test_settings_that_cannot_be_are_told():
    with pytest.raises(InputError, match="mask 'binary'; legal are soft, hard, random, none"):
        MaskAttention(8, mask="binary")
    with pytest.raises(InputError, match="3 heads of attention on 8 channels"):
        MaskAttention(8, heads=3)
