"""Network, loss and backward pass together, as one training step runs them."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from torch.nn import functional as F

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.networks import MaskMed, QueryOutput
from maskmed_nnu.networks.layers.maskmed import deformable, deformable_grid
from maskmed_nnu.networks.maskmed import HEADS
from maskmed_nnu.nnunet.plans_handling.settings.maskmed import SetLossSettings
from maskmed_nnu.nnunet.training.loss.maskmed_loss import MaskMedLoss
from tests.networks.small import build

PATCH = (16, 16, 16)


def make_loss(network: MaskMed, *, num_points: int | None = None, is_ddp: bool = False) -> MaskMedLoss:
    """The planner's weights around nnU-Net's own Dice + CE."""
    settings = SetLossSettings.plan(num_points=num_points)
    aux_weight = settings.pop("aux_weight")
    matching = "fixed" if network.head_type == "unmatched_queries" else "bipartite"
    return MaskMedLoss(
        criterion=SetCriterion(
            num_classes=network.num_classes, mask_head=network.mask_head, matching=matching, **settings
        ),
        dense=DC_and_CE_loss({"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}),
        num_classes=network.num_classes,
        regions=False,
        ignore_label=None,
        aux_weight=aux_weight,
        is_ddp=is_ddp,
    )


def make_case(spatial_dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images with two channels, and their labels 0, 1 and 2."""
    patch = PATCH[:spatial_dims]
    label = torch.zeros(2, 1, *patch)
    label[:, :, 2:8, 2:8], label[:, :, 9:14, 4:14] = 1, 2
    return label.expand(-1, 2, *patch) + 0.1 * torch.randn(2, 2, *patch), label


def targets_for(output: QueryOutput | tuple, label: torch.Tensor) -> list[torch.Tensor]:
    """``label`` on the grid of every pixel-wise answer, full resolution first."""
    logits = output.dense_logits if isinstance(output, QueryOutput) else output
    return [F.interpolate(label, size=logit.shape[2:], mode="nearest") for logit in logits]


@pytest.mark.parametrize("is_ddp", [True, False], ids=["ddp", "single"])
@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_gets_a_gradient_from_the_loss(head: str, is_ddp: bool):
    """DDP refuses a parameter without; alone, nnU-Net leaves the deepest scale unsupervised."""
    torch.manual_seed(0)
    network = build(2, head=head)
    image, label = make_case(2)
    output = network(image)
    loss = make_loss(network, is_ddp=is_ddp)
    loss(output, targets_for(output, label)).backward()
    idle = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    alone = {"decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias"}
    assert idle == (set() if is_ddp or "queries" in head else alone)


@pytest.mark.parametrize("num_points", [None, 64], ids=["dense", "points"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_step_in_bfloat16_leaves_finite_gradients(spatial_dims: int, num_points: int | None, monkeypatch):
    """With the formulation of the deformable attention that a GPU takes."""
    monkeypatch.setattr(deformable, "attend", deformable_grid.attend)
    torch.manual_seed(0)
    network = build(spatial_dims)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    image, label = make_case(spatial_dims)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(image)
        loss = make_loss(network, num_points=num_points)(output, targets_for(output, label))
    assert output.mask_features.dtype == torch.bfloat16 and loss.dtype == torch.float32
    loss.backward()
    odd = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not odd
    optimizer.step()
    with torch.no_grad():
        assert network.eval()(image).isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_steps_in_float16_on_a_gpu_are_not_skipped(spatial_dims: int):
    """As nnU-Net trains there: autocast to half, a loss scale that starts at 65536, gradients clipped at 12."""
    torch.manual_seed(0)
    network = build(spatial_dims).cuda()
    loss = make_loss(network).cuda()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cuda")
    image, label = (tensor.cuda() for tensor in make_case(spatial_dims))
    losses = []
    for _ in range(20):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda"):
            output = network(image)
            step = loss(output, targets_for(output, label))
        scaler.scale(step).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(step))
    assert scaler.get_scale() >= 2**12, "more than four of twenty steps overflowed"
    assert losses[-1] < losses[0]
