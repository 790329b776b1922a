"""Loss of instances whose queries have a place: masks in windows, scores that know how good the mask is.

Matched one-to-one as in "End-to-End Object Detection with Transformers" (arXiv 2005.12872), on score and distance; a
query's class is trained on the IoU of its mask, as in "VarifocalNet" (arXiv 2008.13367), so that a score of one half means
an object that is more likely found than not; heatmap as in "Objects as Points" (arXiv 1904.07850). Masks cost a fixed
number of points per batch, however many objects there are.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from maskmed_nnu.losses.centres import Centres, find_centres, heatmap, votes
from maskmed_nnu.losses.matcher import assign
from maskmed_nnu.losses.pair_loss import pair_loss
from maskmed_nnu.losses.targets import SetTargets
from maskmed_nnu.networks.output import QueryOutput

FAR = 1e4
"""Cost of a query that lies outside an object: the pair is never kept."""


class WindowHead(Protocol):
    """Mask logits at positions given relative to the query; see ``networks.layers.dynamic_head``."""

    scale: float

    def __call__(self, embeddings: Tensor, features: Tensor, relative: Tensor) -> Tensor: ...


class PlaceLoss(NamedTuple):
    """The weighted sum and its unweighted parts."""

    total: Tensor
    classes: Tensor
    bce: Tensor
    dice: Tensor
    heat: Tensor
    votes: Tensor
    quality: Tensor
    """mean IoU of the matched masks of the last layer, for the log"""


class PlaceCriterion(nn.Module):
    """``num_points`` mask positions per batch are shared out among the matched objects, a whole window at most.

    ``window`` is the edge of a query's window in cells of the mask grid. ``duplicate_weight`` is the weight of "no object"
    for a query that lies inside an object which another query was matched with.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mask_head: WindowHead,
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

    def forward(self, output: QueryOutput, targets: list[SetTargets]) -> PlaceLoss:
        """Loss of ``QueryOutput`` against one ``SetTargets`` per sample."""
        logits = output.class_logits.float()
        found = [find_centres(t) for t in targets]
        shape = targets[0].maps.shape[-2:]
        stride = shape[0] // output.mask_features.shape[2]
        pairs, inside = self._match(output, targets, found, shape)
        norm = self._norm(sum(len(t.ids) for t in targets), logits.device)
        bce, dice, iou = self._masks(output, targets, pairs, stride)
        layers, batch = logits.shape[:2]
        sample, query, target = pairs
        label = torch.cat([t.classes for t in targets])[target]
        wanted = torch.zeros_like(logits)
        wanted[..., -1] = 1.0
        wanted[:, sample, query, -1] = 1 - iou
        wanted[:, sample, query, label] = iou
        weight = torch.where(inside, self.duplicate_weight, 1.0)
        weight[sample, query] = 1.0
        entropy = -(wanted * logits.log_softmax(-1)).sum(-1) * weight
        classes = entropy.sum((1, 2)).mean() / (norm + batch)
        bce, dice = bce.sum() / layers / norm, dice.sum() / layers / norm
        heat = self._heat(output.centre_logits.float(), targets, found, norm, shape)
        vote = self._votes(output.mask_features, targets, found, stride)
        total = self.class_weight * classes + self.bce_weight * bce + self.dice_weight * dice
        total = total + self.heat_weight * heat + self.vote_weight * vote
        return PlaceLoss(total, classes, bce, dice, heat, vote, iou[-1].mean() if len(sample) else iou.new_zeros(()))

    @torch.no_grad()
    def _match(
        self, output: QueryOutput, targets: list[SetTargets], found: list[Centres], shape: tuple[int, int]
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Matched pairs of the batch: sample, query, and number of the target among those of all samples.

        The second answer says which queries ``[B, Q]`` lie inside an object.
        """
        reference = output.reference_points * output.reference_points.new_tensor([shape[1], shape[0]])
        score = output.class_logits.detach().float().softmax(-1).mean(0)  # [B, Q, K + 1]
        counts = [len(t.ids) for t in targets]
        batch, queries = score.shape[:2]
        cost = score.new_full((1, batch, queries, max(max(counts), 1)), FAR)
        within = torch.zeros(batch, queries, dtype=torch.bool, device=score.device)
        for b, (sample, centres) in enumerate(zip(targets, found, strict=True)):
            if not counts[b]:
                continue
            column, row = reference[b].long().unbind(1)
            inside = sample.at_points(row * shape[1] + column).T  # [Q, T]
            within[b] = inside.any(1)
            distance = torch.cdist(reference[b], centres.centre) / centres.radius.clamp(min=1)
            near = inside | (distance < 0.5)
            pair = distance - score[b][:, sample.classes]
            cost[0, b, :, : counts[b]] = torch.where(near, pair, FAR)
        match = assign(cost, counts)[0].to(score.device)  # [B, T]
        sample, target = (match >= 0).nonzero().unbind(1)
        query = match[sample, target]
        kept = cost[0, sample, query, target] < FAR
        first = torch.tensor([0, *counts[:-1]], device=score.device).cumsum(0)
        sample, query, target = sample[kept], query[kept], target[kept]
        return (sample, query, first[sample] + target), within

    def _masks(
        self, output: QueryOutput, targets: list[SetTargets], pairs: tuple[Tensor, Tensor, Tensor], stride: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """BCE, Dice loss and IoU of the matched pairs, each ``[L, pairs]``."""
        sample, query, target = pairs
        embeddings = output.mask_embeddings[:, sample, query]  # [L, n, E]
        if not len(sample):
            nothing = (embeddings.sum() + output.mask_features.sum()) * 0
            return (
                nothing.expand(len(embeddings), 1),
                nothing.expand(len(embeddings), 1),
                embeddings.new_zeros(len(embeddings), 0),
            )
        height, width = output.mask_features.shape[2:]
        reference = output.reference_points[sample, query] * output.reference_points.new_tensor([width, height])
        offset = self._cells(len(sample), reference.device)  # [P, 2] x, y
        corner = (reference - self.window / 2 + 0.5).floor().long()
        cell = corner[:, None] + offset
        column, row = cell.unbind(-1)
        weight = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        relative = (cell + 0.5 - reference[:, None]) / self.mask_head.scale
        rows = output.mask_features.permute(0, 2, 3, 1).flatten(0, 2)
        features = F.embedding((sample[:, None] * height + row) * width + column, rows)
        with torch.autocast(device_type=rows.device.type, enabled=False):
            logits = self.mask_head(embeddings.float(), features.float(), relative)  # [L, n, P]
            truth, valid = _truth(targets, sample, target, row, column, stride)
            weight &= valid
            truth &= weight
            bce, dice = pair_loss(logits.transpose(0, 1)[:, None], truth[:, None], weight)
        with torch.no_grad():
            inside = (logits > 0) & weight
            both = (inside & truth).sum(-1)
            iou = both / ((inside | truth).sum(-1).clamp(min=1))
        return bce[:, 0].T, dice[:, 0].T, iou

    def _cells(self, objects: int, device: torch.device) -> Tensor:
        """Positions in the window, all of them or a random choice that keeps within ``num_points``, ``[P, 2]``."""
        cells = self.window**2
        count = min(cells, max(16, self.num_points // objects))
        index = torch.arange(cells, device=device) if count == cells else torch.randperm(cells, device=device)[:count]
        return torch.stack((index % self.window, index.div(self.window, rounding_mode="floor")), -1)

    def _heat(
        self, logits: Tensor, targets: list[SetTargets], found: list[Centres], norm: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        stride = shape[0] // logits.shape[2]
        with torch.no_grad():
            wanted = torch.stack(
                [
                    heatmap(c, t, num_classes=self.num_classes, stride=stride)
                    for c, t in zip(found, targets, strict=True)
                ]
            )
            weight = (1 - wanted) ** 4
        log_on, log_off = F.logsigmoid(logits), F.logsigmoid(-logits)
        probability = logits.sigmoid()
        focal = torch.where(wanted == 1, -((1 - probability) ** 2) * log_on, -weight * probability**2 * log_off)
        valid = [t.valid for t in targets]
        if any(v is not None for v in valid):
            full = torch.stack(
                [v if v is not None else torch.ones(shape, dtype=torch.bool, device=logits.device) for v in valid]
            )
            focal = focal * F.max_pool2d((~full)[:, None].float(), stride).eq(0)
        return focal.sum() / norm

    def _votes(self, features: Tensor, targets: list[SetTargets], found: list[Centres], stride: int) -> Tensor:
        with torch.no_grad():
            wanted, has = zip(*(votes(c, t, stride=stride) for c, t in zip(found, targets, strict=True)), strict=True)
            wanted = torch.stack(wanted) / (stride * self.mask_head.scale)
            has = torch.stack(has)
        error = F.smooth_l1_loss(features[:, -2:].float(), wanted, reduction="none", beta=0.05).sum(1)
        return (error * has).sum() / has.sum().clamp(min=1) * self.mask_head.scale / 10

    @staticmethod
    def _norm(count: int, device: torch.device) -> Tensor:
        """Number of targets per rank, at least one."""
        norm = torch.tensor(float(count), device=device)
        ranks = 1
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(norm)
            ranks = dist.get_world_size()
        return (norm / ranks).clamp(min=1)


def _truth(
    targets: list[SetTargets], sample: Tensor, target: Tensor, row: Tensor, column: Tensor, stride: int
) -> tuple[Tensor, Tensor]:
    """Whether each position of each pair is inside its target, and whether the truth is known there, ``[n, P]``."""
    width = targets[0].maps.shape[-1]
    pixel = (row * stride + stride // 2) * width + column * stride + stride // 2
    layers = torch.cat([t.layers for t in targets])[target]
    ids = torch.cat([t.ids for t in targets])[target]
    maps = torch.stack([t.maps for t in targets]).flatten(2)
    truth = maps[sample[:, None], layers[:, None], pixel] == ids[:, None].to(maps.dtype)
    if all(t.valid is None for t in targets):
        return truth, torch.ones_like(truth)
    valid = torch.stack([torch.ones_like(t.maps[0], dtype=torch.bool) if t.valid is None else t.valid for t in targets])
    return truth, valid.flatten(1)[sample[:, None], pixel]
