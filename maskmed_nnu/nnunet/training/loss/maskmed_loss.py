"""MaskMed's training loss: the set loss on the queries beside nnU-Net's own loss on pixel-wise logits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskmed_nnu.losses.set_criterion import SetCriterion
from maskmed_nnu.losses.targets import SetTargets, region_targets, semantic_targets
from maskmed_nnu.networks.output import QueryOutput


def deep_supervision_weights(count: int, *, drop_last: float | None = None) -> list[float]:
    """nnU-Net's weights, halved from scale to scale and summing to one; ``drop_last`` replaces the last raw weight.

    >>> deep_supervision_weights(2), deep_supervision_weights(3, drop_last=0.0)
    ([0.6666666666666666, 0.3333333333333333], [0.6666666666666666, 0.3333333333333333, 0.0])
    """
    weights = [0.5**scale for scale in range(count)]
    if drop_last is not None and count > 1:
        weights[-1] = drop_last
    return [weight / sum(weights) for weight in weights]


class MaskMedLoss(nn.Module):
    """The loss of all outputs of MaskMed.

    ``dense`` is nnU-Net's loss for one scale (Dice + CE for labels, Dice + BCE for regions). The target is nnU-Net's:
    label maps ``[B, 1, *spatial]`` or region stacks ``[B, R (+ 1 for ignore), *spatial]``, a list over scales with
    full resolution first, or a single tensor.

    - `QueryOutput` → set loss at full resolution + ``aux_weight`` · ``dense`` on every auxiliary pixel-wise scale;
    - tuple of logits (pixel-wise heads in training) → ``dense`` over the scales as nnU-Net does it;
    - one tensor (evaluation mode) → ``dense``.

    A scale that has no target of its shape (nnU-Net prepares one scale only without deep supervision) carries no loss;
    the weights of the others then sum to one.
    """

    def __init__(
        self,
        *,
        criterion: SetCriterion,
        dense: nn.Module,
        num_classes: int,
        regions: bool,
        ignore_label: int | None,
        aux_weight: float,
        is_ddp: bool = False,
    ) -> None:
        super().__init__()
        self.criterion = criterion
        self.dense = dense
        self.num_classes = num_classes
        self.regions = regions
        self.ignore_label = ignore_label
        self.aux_weight = aux_weight
        # nnU-Net does not supervise the deepest scale; DDP demands that every parameter receives a gradient
        self.drop_last = 1e-6 if is_ddp else 0.0

    def forward(self, output: QueryOutput | Sequence[Tensor] | Tensor, target: Sequence[Tensor] | Tensor) -> Tensor:
        scales = [target] if isinstance(target, Tensor) else list(target)
        if isinstance(output, Tensor):
            return self.dense(output, scales[0])
        if not isinstance(output, QueryOutput):
            return self._dense(output, scales, deep_supervision_weights(len(output), drop_last=self.drop_last))
        loss = self.criterion(output, self.set_targets(scales[0])).total
        if output.dense_logits:
            weights = deep_supervision_weights(len(output.dense_logits))
            loss = loss + self.aux_weight * self._dense(output.dense_logits, scales, weights)
        return loss

    def set_targets(self, target: Tensor) -> list[SetTargets]:
        """The full-resolution target as the set loss takes it, one entry per sample."""
        if self.regions:
            return region_targets(target, has_ignore=self.ignore_label is not None)
        return semantic_targets(target, num_classes=self.num_classes, ignore_label=self.ignore_label)

    def _dense(self, logits: Sequence[Tensor], scales: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        # by shape, not by index: an auxiliary head need not exist on every scale that nnU-Net prepares
        by_shape = {target.shape[2:]: target for target in scales}
        scored = [
            (weight, logit, by_shape[logit.shape[2:]])
            for logit, weight in zip(logits, weights, strict=True)
            if weight > 0 and logit.shape[2:] in by_shape
        ]
        total = sum(weight for weight, _, _ in scored)
        return sum(weight / total * self.dense(logit, target) for weight, logit, target in scored)
