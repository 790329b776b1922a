"""Loss of instances whose queries have reference points: masks in windows, scores trained on the quality of the mask.

Matched one-to-one as in "End-to-End Object Detection with Transformers" (arXiv 2005.12872), on score and distance; a
query's class is trained on the IoU of its mask, as in "VarifocalNet" (arXiv 2008.13367), so that a score above one half
means that the query has more likely found an object than not; heatmap as in "Objects as Points" (arXiv 1904.07850).
Masks are compared at a fixed number of points per batch, however many objects there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmed_nnu.dimensions import MAX_POOL, unravel, vector_like
from maskmed_nnu.losses.centres import Centres, at_cells, find_centres, heatmap, vote_targets
from maskmed_nnu.losses.matcher import assign
from maskmed_nnu.losses.pair_loss import pair_loss
from maskmed_nnu.losses.points import valid_voxels
from maskmed_nnu.losses.precision import at_least_float32, no_autocast
from maskmed_nnu.losses.ranks import mean_over_ranks
from maskmed_nnu.losses.targets import SetTargets
from maskmed_nnu.networks.output import QueryOutput

UNRELATED_COST = 1e4
"""Cost of a query that is not near an object: such a pair is never matched."""


class WindowMaskHead(Protocol):
    """Mask logits at positions given relative to the query; see ``networks.layers.iaunet.dynamic_mask_head``."""

    @property
    def scale(self) -> Sequence[float]: ...

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

    ``window`` are the edges (z, y, x) of a query's window in cells of the mask grid. Distances are measured as if it
    were a cube: an axis along which it has fewer cells, because they are coarser, counts more. ``duplicate_weight`` is
    the weight of "no object" for a query that lies inside an object which another query was matched with. Where the
    truth is unknown, masks, votes, heatmap and unmatched queries have no loss.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mask_head: WindowMaskHead,
        window: Sequence[int],
        class_weight: float = 1.0,
        bce_weight: float = 2.0,
        dice_weight: float = 2.0,
        heat_weight: float = 1.0,
        vote_weight: float = 1.0,
        duplicate_weight: float = 1.0,
        num_points: int = 2**17,
    ) -> None:
        super().__init__()
        self.num_classes, self.mask_head, self.num_points = num_classes, mask_head, num_points
        self.window = tuple(window)
        self.class_weight, self.bce_weight, self.dice_weight = class_weight, bce_weight, dice_weight
        self.heat_weight, self.vote_weight, self.duplicate_weight = heat_weight, vote_weight, duplicate_weight

    def forward(self, output: QueryOutput, targets: list[SetTargets]) -> LocationLoss:
        """Loss of ``QueryOutput`` against one ``SetTargets`` per sample."""
        logits = at_least_float32(output.class_logits)
        shape = targets[0].maps.shape[1:]
        stride = _stride(shape, output.mask_features)
        edges = [length * step for length, step in zip(self.window, stride, strict=True)]
        centres = [find_centres(t, weights=[min(edges) / edge for edge in reversed(edges)]) for t in targets]
        pairs, weight = self._match(output, targets, centres, shape)
        count = torch.tensor(float(sum(len(t.ids) for t in targets)))
        num_targets = mean_over_ranks(count.to(logits.device, non_blocking=True))
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
        reference = output.reference_points * vector_like(shape[::-1], output.reference_points)
        score = at_least_float32(output.class_logits.detach()).softmax(-1).mean(0)  # [B, Q, K + 1]
        half_cell = vector_like(_stride(shape, output.centre_logits)[::-1], reference) / 2
        counts = [len(t.ids) for t in targets]
        batch, queries = score.shape[:2]
        cost = score.new_full((1, batch, queries, max(max(counts), 1)), UNRELATED_COST)
        weight = score.new_ones(batch, queries)
        for b, (sample_targets, sample_centres) in enumerate(zip(targets, centres, strict=True)):
            pixel = _flat(reference[b].long().unbind(1)[::-1], shape)
            if counts[b]:
                inside = sample_targets.at_points(pixel).T  # [Q, T]
                weight[b] = torch.where(inside.any(1), self.duplicate_weight, 1.0)
                offset = reference[b][:, None] - sample_centres.centre
                distance = (offset * sample_centres.weights).norm(dim=-1) / sample_centres.radius.clamp(min=1)
                # the centre of the peak's cell may lie outside a tiny object
                peak = (offset.abs() <= half_cell).all(-1)
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
        self,
        output: QueryOutput,
        targets: list[SetTargets],
        pairs: tuple[Tensor, Tensor, Tensor],
        stride: Sequence[int],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """BCE, Dice loss and IoU of the matched pairs, and whether any point is on their masks, each ``[L, pairs]``."""
        sample, query, target = pairs
        embeddings = output.mask_embeddings[:, sample, query]  # [L, n, E]
        if not len(sample):
            zero = at_least_float32(embeddings.sum(-1))  # a zero gradient for every parameter, as DDP needs
            return zero, zero, zero.detach(), zero.bool()
        assert output.reference_points is not None
        grid = output.mask_features.shape[2:]
        reference = output.reference_points[sample, query] * vector_like(grid[::-1], output.reference_points)
        cells, relative, weight = self._window_points(reference, grid)
        rows = output.mask_features.movedim(1, -1).flatten(0, -2)
        features = F.embedding(_flat([sample[:, None], *cells], (len(targets), *grid)), rows)
        with no_autocast(rows):
            logits = self.mask_head(at_least_float32(embeddings), at_least_float32(features), relative)  # [L, n, P]
            truth, valid = _target_masks(targets, sample, target, cells, stride)
            weight &= valid
            truth &= weight
            bce, dice = pair_loss(logits.transpose(0, 1)[:, None], truth[:, None], weight)
        with torch.no_grad():
            inside = (logits > 0) & weight
            intersection, union = (inside & truth).sum(-1), (inside | truth).sum(-1)
        return bce[:, 0].T, dice[:, 0].T, intersection / union.clamp(min=1), union > 0

    def _window_points(self, reference: Tensor, grid: Sequence[int]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Positions in the windows around ``reference [n, dim]`` (x, y, z), in cells of the ``grid``.

        The cells (z, y, x), each ``[n, P]``, their coordinates relative to the reference point in units of the head's
        scale ``[n, P, dim]``, and which of them are on the grid; one that is not is replaced by the nearest.
        """
        corner = (reference - vector_like(self.window[::-1], reference) / 2 + 0.5).floor().long()
        on_grid, cells, relative = None, [], []
        places = zip(self._sample_cells(len(reference), reference.device), reversed(grid), strict=True)
        for axis, (offset, edge) in enumerate(places):
            cell = corner[:, axis, None] + offset
            inside = (cell >= 0) & (cell < edge)
            on_grid = inside if on_grid is None else on_grid & inside
            relative.append((cell + 0.5 - reference[:, axis, None]) / self.mask_head.scale[axis])
            cells.append(cell.clamp_(0, edge - 1))
        assert on_grid is not None
        return cells[::-1], torch.stack(relative, -1), on_grid

    def _sample_cells(self, objects: int, device: torch.device) -> list[Tensor]:
        """Positions (x, y, z) in the window, all of them or a random subset, to stay within ``num_points``: ``[P]``."""
        cells = math.prod(self.window)
        count = min(cells, max(16, self.num_points // objects))
        index = torch.arange(cells, device=device) if count == cells else torch.randperm(cells, device=device)[:count]
        return unravel(index, self.window)

    def _heatmap_loss(
        self,
        logits: Tensor,
        targets: list[SetTargets],
        centres: list[Centres],
        num_targets: Tensor,
        shape: Sequence[int],
    ) -> Tensor:
        stride = _stride(shape, logits)
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
            focal = focal * MAX_POOL[len(shape)](unknown, stride).eq(0)
        return focal.sum() / num_targets

    def _vote_loss(
        self, features: Tensor, targets: list[SetTargets], centres: list[Centres], stride: Sequence[int]
    ) -> Tensor:
        scale = self.mask_head.scale
        with torch.no_grad():
            per_sample = (vote_targets(c, t, stride=stride) for c, t in zip(centres, targets, strict=True))
            target, has_target = (torch.stack(part) for part in zip(*per_sample, strict=True))
            units = vector_like([step * one for step, one in zip(reversed(stride), scale, strict=True)], target)
            target, valid = target / units.view(-1, *[1] * len(stride)), valid_voxels(targets)
            if valid is not None:
                has_target &= at_cells(valid.view(-1, *targets[0].maps.shape[1:]), stride)
        predicted = at_least_float32(features[:, -len(stride) :])
        error = F.smooth_l1_loss(predicted, target.to(predicted.dtype), reduction="none", beta=0.05).sum(1)
        return (error * has_target).sum() / mean_over_ranks(has_target.sum()) * max(scale) / 10


def _stride(shape: Sequence[int], maps: Tensor) -> list[int]:
    """Voxels of the image of ``shape`` along each edge of a cell of ``maps [B, C, *grid]``."""
    return [edge // cells for edge, cells in zip(shape, maps.shape[2:], strict=True)]


def _flat(coordinates: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Flat positions of ``coordinates`` in the order of ``shape``."""
    flat = coordinates[0]
    for place, edge in zip(coordinates[1:], shape[1:], strict=True):
        flat = flat * edge + place
    return flat


def _target_masks(
    targets: list[SetTargets], sample: Tensor, target: Tensor, cells: Sequence[Tensor], stride: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Whether each position of each pair is inside its target, and whether the truth is known there, ``[n, P]``."""
    voxel = _flat(
        [cell * step + step // 2 for cell, step in zip(cells, stride, strict=True)], targets[0].maps.shape[1:]
    )
    layers = torch.cat([t.layers for t in targets])[target]
    ids = torch.cat([t.ids for t in targets])[target]
    maps = torch.stack([t.maps for t in targets]).flatten(2)
    truth = maps[sample[:, None], layers[:, None], voxel] == ids[:, None].to(maps.dtype)
    valid = valid_voxels(targets)
    return truth, torch.ones_like(truth) if valid is None else valid[sample[:, None], voxel]
