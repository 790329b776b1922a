"""One loss for everything that the network answers."""

from __future__ import annotations

import doctest

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks.layers.dot_product_mask_head import DotProductMaskHead
from maskmed_nnu.networks.output import QueryOutput
from maskmed_nnu.nnunet.training.loss import maskmed_loss as module
from maskmed_nnu.nnunet.training.loss.maskmed_loss import MaskMedLoss, deep_supervision_weights

K, Q, C = 3, 8, 4


@pytest.fixture
def dense() -> DC_and_CE_loss:
    return DC_and_CE_loss({"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, ignore_label=K)


def make_loss(dense, *, aux_weight: float = 1.0) -> MaskMedLoss:
    criterion = SetCriterion(num_classes=K, mask_head=DotProductMaskHead(), num_points=None)
    return MaskMedLoss(
        criterion=criterion, dense=dense, num_classes=K, regions=False, ignore_label=K, aux_weight=aux_weight
    )


def make_targets() -> list[torch.Tensor]:
    torch.manual_seed(0)
    full = torch.randint(0, K + 1, (2, 1, 8, 8))
    return [full, full[..., ::2, ::2], full[..., ::4, ::4]]


def make_logits(scales: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return tuple(torch.randn(2, K, 8 >> scale, 8 >> scale, requires_grad=True) for scale in range(scales))


def make_output(dense_logits: tuple[torch.Tensor, ...] = ()) -> QueryOutput:
    torch.manual_seed(2)
    return QueryOutput(torch.randn(2, 2, Q, K + 1), torch.randn(2, 2, Q, C + 1), torch.randn(2, C, 8, 8), dense_logits)


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_set_loss_plus_weighted_auxiliary_loss(dense):
    targets, logits = make_targets(), make_logits(2)
    alone = make_loss(dense)(make_output(), targets)
    expected = alone + 0.5 * (2 / 3 * dense(logits[0], targets[0]) + 1 / 3 * dense(logits[1], targets[1]))
    total = make_loss(dense, aux_weight=0.5)(make_output(logits), targets)
    torch.testing.assert_close(total, expected)
    total.backward()
    assert all(logit.grad is not None for logit in logits)


def test_an_auxiliary_head_need_not_exist_on_every_scale(dense):
    targets, logits = make_targets(), make_logits(3)
    coarse = make_loss(dense)(make_output(logits[1:]), targets)
    expected = make_loss(dense)(make_output(), targets)
    expected = expected + 2 / 3 * dense(logits[1], targets[1]) + 1 / 3 * dense(logits[2], targets[2])
    torch.testing.assert_close(coarse, expected)


@pytest.mark.parametrize("scale", [0, 1])
def test_scales_without_a_target_carry_no_loss(dense, scale):
    """A trainer without deep supervision prepares one scale, as a tensor; the network answers all of them."""
    target, logits = make_targets()[scale], make_logits(3)
    full = make_targets()[0]
    targets = target if scale == 0 else [full, target]
    carried = [(logits[0], full)] if scale == 0 else [(logits[0], full), (logits[1], target)]
    shares = deep_supervision_weights(len(carried))
    expected = sum(share * dense(*pair) for share, pair in zip(shares, carried, strict=True))
    alone = make_loss(dense)(make_output(), targets)
    torch.testing.assert_close(make_loss(dense)(make_output(logits), targets), alone + expected)
    torch.testing.assert_close(make_loss(dense)(logits, targets), expected)


def test_pixelwise_heads_get_nnunets_own_loss(dense):
    targets, logits = make_targets(), make_logits(3)
    stock = DeepSupervisionWrapper(dense, deep_supervision_weights(3, drop_last=0.0))
    torch.testing.assert_close(make_loss(dense)(logits, targets), stock(logits, targets))


def test_a_single_map_is_compared_at_full_resolution(dense):
    targets, logits = make_targets(), make_logits(1)
    for target in (targets, targets[0]):
        torch.testing.assert_close(make_loss(dense)(logits[0], target), dense(logits[0], targets[0]))


def test_ignored_voxels_change_nothing(dense):
    targets, output = make_targets(), make_output()
    other = output._replace(mask_features=output.mask_features.clone())
    ignored = (targets[0] == K).expand(-1, C, -1, -1)
    other.mask_features[ignored] = 5.0
    torch.testing.assert_close(make_loss(dense)(output, targets), make_loss(dense)(other, targets))
