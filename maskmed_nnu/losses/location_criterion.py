"""Loss of instances whose queries have reference points: masks in windows, scores trained on the quality of the mask.

Matched one-to-one as in "End-to-End Object Detection with Transformers" (arXiv 2005.12872), on score and distance; a
query's class is trained on the IoU of its mask, as in "VarifocalNet" (arXiv 2008.13367), so that a score above one half
means that the query has more likely found an object than not; heatmap as in "Objects as Points" (arXiv 1904.07850).
Masks are compared at a fixed number of points per batch, however many objects there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from maskmed_nnu.losses.centres import Centres, find_centres, heatmap, vote_targets
from maskmed_nnu.losses.matcher import assign
from maskmed_nnu.losses.pair_loss import pair_loss
from maskmed_nnu.losses.points import valid_voxels
from maskmed_nnu.losses.precision import at_least_float32, no_autocast
from maskmed_nnu.losses.targets import SetTargets
from maskmed_nnu.networks.output import QueryOutput

UNRELATED_COST = 1e4
"""Cost of a query that is not near an object: such a pair is never matched."""


class WindowMaskHead(Protocol):
    """Mask logits at positions given relative to the query; see ``networks.layers.iaunet.dynamic_head``."""

    scale: float

    def __call__(self, embeddings: Tensor, features: Tensor, relative: Tensor) -> Tensor: ...


class LocationLoss(NamedTuple):
    """The weighted sum and its unweighted parts."""

    total: Tensor
    classes: Tensor
    bce: Tensor
    dice: Tensor
    heat: Tensor
    votes: Tensor
    quality: Tensor
    """mean IoU of the matched masks of the last layer, for the log"""


class LocationCriterion(nn.Module):
    """``num_points`` mask positions per batch are divided among the matched objects, at most a whole window each.

    ``window`` is the edge of a query's window in cells of the mask grid. ``duplicate_weight`` is the weight of "no
    object" for a query that lies inside an object which another query was matched with. Where the truth is unknown,
    masks, votes, heatmap and unmatched queries have no loss.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mask_head: WindowMaskHead,
        window: int,
        class_weight: float = 1.0,
        bce_weight: float = 2.0,
        dice_weight: float = 2.0,
        heat_weight: float = 1.0,
        vote_weight: float = 1.0,
        duplicate_weight: float = 1.0,
        num_points: int = 2**17,
    ) -> None:
        super().__init__()
        self.num_classes, self.mask_head, self.window, self.num_points = num_classes, mask_head, window, num_points
        self.class_weight, self.bce_weight, self.dice_weight = class_weight, bce_weight, dice_weight
        self.heat_weight, self.vote_weight, self.duplicate_weight = heat_weight, vote_weight, duplicate_weight

    def forward(self, output: QueryOutput, targets: list[SetTargets]) -> LocationLoss:
        """Loss of ``QueryOutput`` against one ``SetTargets`` per sample."""
        logits = at_least_float32(output.class_logits)
        centres = [find_centres(t) for t in targets]
        shape = targets[0].maps.shape[-2:]
        stride = shape[0] // output.mask_features.shape[2]
        pairs, weight = self._match(output, targets, centres, shape)
        num_targets = self._num_targets(sum(len(t.ids) for t in targets), logits.device)
        bce, dice, iou, has_points = self._masks(output, targets, pairs, stride)
        layers, batch = logits.shape[:2]
        sample, query, target = pairs
        target_class = torch.cat([t.classes for t in targets])[target]
        iou = iou.to(logits.dtype)
        target_probability = torch.zeros_like(logits)
        target_probability[..., -1] = 1.0
        target_probability[:, sample, query, -1] = 1 - iou
        target_probability[:, sample, query, target_class] = iou
        weight = weight.to(logits.dtype).repeat(layers, 1, 1)
        # if any points fall on the two masks, their IoU over the points is right on average
        weight[:, sample, query] = has_points.to(logits.dtype)
        entropy = -(target_probability * logits.log_softmax(-1)).sum(-1) * weight
        classes = entropy.sum((1, 2)).mean() / (num_targets + batch)
        bce, dice = bce.sum() / layers / num_targets, dice.sum() / layers / num_targets
        assert output.centre_logits is not None
        heat = self._heatmap_loss(at_least_float32(output.centre_logits), targets, centres, num_targets, shape)
        vote = self._vote_loss(output.mask_features, targets, centres, stride)
        total = self.class_weight * classes + self.bce_weight * bce + self.dice_weight * dice
        total = total + self.heat_weight * heat + self.vote_weight * vote
        return LocationLoss(total, classes, bce, dice, heat, vote, iou[-1].mean() if len(sample) else iou.new_zeros(()))

    @torch.no_grad()
    def _match(
        self, output: QueryOutput, targets: list[SetTargets], centres: list[Centres], shape: Sequence[int]
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Matched pairs of the batch: sample, query, and number of the target among those of all samples.

        The second result is the weight of "no object" for queries that are not matched, ``[B, Q]``.
        """
        assert output.reference_points is not None and output.centre_logits is not None
        reference = output.reference_points * output.reference_points.new_tensor([shape[1], shape[0]])
        score = at_least_float32(output.class_logits.detach()).softmax(-1).mean(0)  # [B, Q, K + 1]
        cell = shape[0] // output.centre_logits.shape[2]
        counts = [len(t.ids) for t in targets]
        batch, queries = score.shape[:2]
        cost = score.new_full((1, batch, queries, max(max(counts), 1)), UNRELATED_COST)
        weight = score.new_ones(batch, queries)
        for b, (sample_targets, sample_centres) in enumerate(zip(targets, centres, strict=True)):
            column, row = reference[b].long().unbind(1)
            pixel = row * shape[1] + column
            if counts[b]:
                inside = sample_targets.at_points(pixel).T  # [Q, T]
                weight[b] = torch.where(inside.any(1), self.duplicate_weight, 1.0)
                offset = reference[b][:, None] - sample_centres.centre
                distance = offset.norm(dim=-1) / sample_centres.radius.clamp(min=1)
                # the centre of the peak's cell may lie outside a tiny object
                peak = (offset.abs() <= cell / 2).all(-1)
                is_candidate = inside | (distance < 0.5) | peak
                pair_cost = distance - score[b][:, sample_targets.classes]
                cost[0, b, :, : counts[b]] = torch.where(is_candidate, pair_cost, UNRELATED_COST)
            if sample_targets.valid is not None:
                weight[b] *= sample_targets.valid.flatten()[pixel]
        cost = cost.cpu()
        match = assign(cost, counts)[0]  # [B, T]
        sample, target = (match >= 0).nonzero().unbind(1)
        query = match[sample, target]
        is_match = cost[0, sample, query, target] < UNRELATED_COST
        first_target = torch.tensor([0, *counts[:-1]]).cumsum(0)
        sample, query, target = sample[is_match], query[is_match], target[is_match]
        pairs = (sample, query, first_target[sample] + target)
        sample, query, target = (part.to(score.device, non_blocking=True) for part in pairs)
        return (sample, query, target), weight

    def _masks(
        self, output: QueryOutput, targets: list[SetTargets], pairs: tuple[Tensor, Tensor, Tensor], stride: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """BCE, Dice loss and IoU of the matched pairs, and whether any point is on their masks, each ``[L, pairs]``."""
        sample, query, target = pairs
        embeddings = output.mask_embeddings[:, sample, query]  # [L, n, E]
        if not len(sample):
            zero = at_least_float32(embeddings.sum(-1))  # a zero gradient for every parameter, as DDP needs
            return zero, zero, zero.detach(), zero.bool()
        assert output.reference_points is not None
        height, width = output.mask_features.shape[2:]
        reference = output.reference_points[sample, query] * output.reference_points.new_tensor([width, height])
        offset = self._sample_cells(len(sample), reference.device)  # [P, 2] x, y
        corner = (reference - self.window / 2 + 0.5).floor().long()
        cell = corner[:, None] + offset
        column, row = cell.unbind(-1)
        weight = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        relative = (cell + 0.5 - reference[:, None]) / self.mask_head.scale
        rows = output.mask_features.permute(0, 2, 3, 1).flatten(0, 2)
        features = F.embedding((sample[:, None] * height + row) * width + column, rows)
        with no_autocast(rows):
            logits = self.mask_head(at_least_float32(embeddings), at_least_float32(features), relative)  # [L, n, P]
            truth, valid = _target_masks(targets, sample, target, row, column, stride)
            weight &= valid
            truth &= weight
            bce, dice = pair_loss(logits.transpose(0, 1)[:, None], truth[:, None], weight)
        with torch.no_grad():
            inside = (logits > 0) & weight
            intersection, union = (inside & truth).sum(-1), (inside | truth).sum(-1)
        return bce[:, 0].T, dice[:, 0].T, intersection / union.clamp(min=1), union > 0

    def _sample_cells(self, objects: int, device: torch.device) -> Tensor:
        """Positions in the window, all of them or a random subset, to stay within ``num_points``, ``[P, 2]``."""
        cells = self.window**2
        count = min(cells, max(16, self.num_points // objects))
        index = torch.arange(cells, device=device) if count == cells else torch.randperm(cells, device=device)[:count]
        return torch.stack((index % self.window, index.div(self.window, rounding_mode="floor")), -1)

    def _heatmap_loss(
        self,
        logits: Tensor,
        targets: list[SetTargets],
        centres: list[Centres],
        num_targets: Tensor,
        shape: Sequence[int],
    ) -> Tensor:
        stride = shape[0] // logits.shape[2]
        with torch.no_grad():
            target = torch.stack(
                [
                    heatmap(c, t, num_classes=self.num_classes, stride=stride)
                    for c, t in zip(centres, targets, strict=True)
                ]
            )
            weight = (1 - target) ** 4
        log_on, log_off = F.logsigmoid(logits), F.logsigmoid(-logits)
        probability = logits.sigmoid()
        focal = torch.where(target == 1, -((1 - probability) ** 2) * log_on, -weight * probability**2 * log_off)
        valid = valid_voxels(targets)
        if valid is not None:
            unknown = (~valid).view(-1, 1, *shape).float()
            focal = focal * F.max_pool2d(unknown, stride).eq(0)
        return focal.sum() / num_targets

    def _vote_loss(self, features: Tensor, targets: list[SetTargets], centres: list[Centres], stride: int) -> Tensor:
        with torch.no_grad():
            per_sample = (vote_targets(c, t, stride=stride) for c, t in zip(centres, targets, strict=True))
            target, has_target = (torch.stack(part) for part in zip(*per_sample, strict=True))
            target, valid = target / (stride * self.mask_head.scale), valid_voxels(targets)
            if valid is not None:
                start = stride // 2
                has_target &= valid.view(-1, *targets[0].maps.shape[-2:])[:, start::stride, start::stride]
        predicted = at_least_float32(features[:, -2:])
        error = F.smooth_l1_loss(predicted, target.to(predicted.dtype), reduction="none", beta=0.05).sum(1)
        return (error * has_target).sum() / has_target.sum().clamp(min=1) * self.mask_head.scale / 10

    @staticmethod
    def _num_targets(count: int, device: torch.device) -> Tensor:
        """Number of targets per rank, at least one."""
        num_targets = torch.tensor(float(count)).to(device, non_blocking=True)
        ranks = 1
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(num_targets)
            ranks = dist.get_world_size()
        return (num_targets / ranks).clamp(min=1)


def _target_masks(
    targets: list[SetTargets], sample: Tensor, target: Tensor, row: Tensor, column: Tensor, stride: int
) -> tuple[Tensor, Tensor]:
    """Whether each position of each pair is inside its target, and whether the truth is known there, ``[n, P]``."""
    width = targets[0].maps.shape[-1]
    pixel = (row * stride + stride // 2) * width + column * stride + stride // 2
    layers = torch.cat([t.layers for t in targets])[target]
    ids = torch.cat([t.ids for t in targets])[target]
    maps = torch.stack([t.maps for t in targets]).flatten(2)
    truth = maps[sample[:, None], layers[:, None], pixel] == ids[:, None].to(maps.dtype)
    valid = valid_voxels(targets)
    return truth, torch.ones_like(truth) if valid is None else valid[sample[:, None], pixel]
