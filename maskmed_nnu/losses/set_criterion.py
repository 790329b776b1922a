"""Set loss of mask classification on label maps.

"Masked-attention Mask Transformer for Universal Image Segmentation" (arXiv 2112.01527). How this version differs:
targets are label maps; points are voxels, shared by all queries and layers of a sample and drawn among the valid ones,
a share of them equally often from every target; one transfer to the host serves the matching of all layers and samples;
mask logits that need a gradient are built for matched queries only; optional loss on the semantic output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from maskmed_nnu.errors import InputError
from maskmed_nnu.losses.matcher import PairSums, assign, class_cost
from maskmed_nnu.losses.pair_loss import chunk_size, pair_loss
from maskmed_nnu.losses.points import Points, PointSampler, valid_voxels
from maskmed_nnu.losses.precision import at_least_float32, no_autocast
from maskmed_nnu.losses.ranks import mean_over_ranks
from maskmed_nnu.losses.semantic_loss import semantic_loss
from maskmed_nnu.losses.targets import SetTargets

if TYPE_CHECKING:
    from maskmed_nnu.networks.output import QueryOutput

MATCHINGS = ("bipartite", "fixed")
MATCHING_SHARE = 4
"""The matching is done at one of so many points of the loss: it only ranks the queries of a target, and costs as much
per point as the loss of all queries would."""


class MaskHead(Protocol):
    """Turns mask embeddings ``[L, B, Q, E]`` and features ``[B, C, *spatial]`` into mask logits."""

    def sample(self, features: Tensor, index: Tensor) -> Tensor:
        """Features ``[B, C, P]`` at the flat voxel indices ``[B, P]`` of the targets' grid."""

    def dense(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """``[L, B, Q, N]`` at all ``N`` voxels of the features, or points of those that were sampled."""


class SetLoss(NamedTuple):
    """The weighted sum and its unweighted parts; ``L`` supervised layers."""

    total: Tensor
    classes: Tensor
    """``[L]`` cross-entropy of the queries' classes"""
    bce: Tensor
    """``[L]`` binary cross-entropy of the matched masks"""
    dice: Tensor
    """``[L]`` 1 - Dice of the matched masks"""
    semantic: Tensor


class SetCriterion(nn.Module):
    """Class, BCE and Dice loss of matched queries, after every supervised layer.

    The mask losses are computed at ``num_points`` voxels per sample: ``oversample_ratio`` times as many are drawn, of
    which the most uncertain under the last layer's matched masks fill ``importance_ratio`` of the points and newly
    drawn ones the rest; the matching draws a quarter as many. Of all points drawn, for the matching and for the loss,
    a share of ``balanced_ratio`` is drawn equally often from every target of a sample, however small, and the rest
    uniformly. ``num_points=None``, or no fewer points than voxels: all valid voxels. ``matching="fixed"`` gives the
    target of class ``c`` to query ``c``.
    ``total = sum_L(class + bce + dice, weighted) / L + semantic_weight * semantic``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mask_head: MaskHead,
        class_weight: float = 0.2,
        bce_weight: float = 1.2,
        dice_weight: float = 1.2,
        no_object_weight: float = 0.1,
        num_points: int | None = 12544,
        oversample_ratio: float = 3.0,
        importance_ratio: float = 0.75,
        balanced_ratio: float = 0.25,
        matching: str = "bipartite",
        regions: bool = False,
        semantic_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if matching not in MATCHINGS:
            raise InputError(f"Unknown matching {matching!r} of the set loss: choose one of {', '.join(MATCHINGS)}.")
        if num_points is not None and num_points < 1:
            raise InputError(f"num_points of the set loss is {num_points}: give at least 1, or null for all voxels.")
        if oversample_ratio < 1 or not 0 <= importance_ratio <= 1:
            raise InputError(
                f"The set loss got oversample_ratio {oversample_ratio} and importance_ratio {importance_ratio}: "
                "the first must be at least 1, the second between 0 and 1."
            )
        if not 0 <= balanced_ratio <= 1:
            raise InputError(
                f"balanced_ratio of the set loss is {balanced_ratio}: give the share of points that is drawn "
                "equally for every target, between 0 and 1."
            )
        self.num_classes = num_classes
        self.mask_head = mask_head
        self.class_weight, self.bce_weight, self.dice_weight = class_weight, bce_weight, dice_weight
        self.no_object_weight = no_object_weight
        self.num_points, self.oversample_ratio, self.importance_ratio = num_points, oversample_ratio, importance_ratio
        self.balanced_ratio = balanced_ratio
        self.matching, self.regions, self.semantic_weight = matching, regions, semantic_weight

    def forward(self, output: QueryOutput, targets: list[SetTargets]) -> SetLoss:
        """Loss of ``QueryOutput`` against one ``SetTargets`` per sample."""
        class_logits = at_least_float32(output.class_logits)
        layers, batch, queries, _ = class_logits.shape
        self._check_targets(targets, batch, queries)
        features = output.mask_features
        if features.shape[2:] != targets[0].maps.shape[1:]:  # interpolated row by row, for three sets of points
            output = output._replace(mask_features=features.movedim(1, -1).contiguous().movedim(-1, 1))
        # at least one (empty) row: a batch without targets still gives every parameter a gradient
        classes = pad_sequence([t.classes for t in targets], batch_first=True)
        classes = F.pad(classes, (0, 1)) if classes.shape[1] == 0 else classes
        counts = [len(t.classes) for t in targets]
        is_target = torch.arange(classes.shape[1]) < torch.tensor(counts)[:, None]  # [B, T]
        is_target = is_target.to(classes.device, non_blocking=True)
        valid = valid_voxels(targets)
        has_valid = is_target.new_ones(batch) if valid is None else valid.any(1)
        is_target = is_target & has_valid[:, None]

        query, points = self._match(output, class_logits, targets, classes, is_target, counts, valid)
        is_matched = (query >= 0) & is_target  # [L, B, T]
        num_targets, sum_weight, num_samples = self._normalizers(is_target, is_matched[0], has_valid, queries)

        slot = torch.where(is_matched, query, queries)
        target_class = classes.new_full((layers, batch, queries + 1), self.num_classes)
        target_class = target_class.scatter_(2, slot, classes.expand(layers, -1, -1))[..., :queries]
        weight = torch.where(target_class == self.num_classes, self.no_object_weight, 1.0) * has_valid[:, None]
        entropy = F.cross_entropy(class_logits.flatten(0, 2), target_class.flatten(), reduction="none").view_as(weight)
        class_loss = (entropy * weight).sum((1, 2)) / sum_weight

        rows = self._gather_embeddings(output.mask_embeddings, query)
        supervised = rows if not self.semantic_weight else torch.cat([rows, output.mask_embeddings[-1]], 1)
        logits = self._logits(supervised, self._sampled(output.mask_features, points.index))
        matched = of_queries = logits  # splitting off nothing would copy the gradient of all of them
        if self.semantic_weight:
            matched, of_queries = logits.split([rows.shape[1], logits.shape[1] - rows.shape[1]], 1)
        truth = _target_masks(targets, points, classes.shape[1])
        pair_logits = torch.unflatten(matched, 1, (-1, layers))
        with no_autocast(logits):
            # [B, T, L]; a part of the logits shares its memory with the rest
            bce, dice = pair_loss(pair_logits, truth, points.weight, overwrite=matched is logits)
        pair_weight = is_matched.permute(1, 2, 0)
        bce = (bce * pair_weight).sum((0, 1)) / num_targets
        dice = (dice * pair_weight).sum((0, 1)) / num_targets

        semantic = class_logits.new_zeros(())
        if self.semantic_weight:
            semantic = self._semantic(class_logits[-1], of_queries, truth, classes, is_target, points)
            semantic = (semantic * has_valid).sum() / num_samples
        total = (self.class_weight * class_loss + self.bce_weight * bce + self.dice_weight * dice).mean()
        return SetLoss(total + self.semantic_weight * semantic, class_loss, bce, dice, semantic)

    @torch.no_grad()
    def _match(
        self,
        output: QueryOutput,
        class_logits: Tensor,
        targets: list[SetTargets],
        classes: Tensor,
        is_target: Tensor,
        counts: list[int],
        valid: Tensor | None,
    ) -> tuple[Tensor, Points]:
        """The query of each target ``[L, B, T]`` (-1: none), and the points of the mask losses."""
        layers, batch = class_logits.shape[:2]
        features = output.mask_features
        grid = targets[0].maps.shape[1:]
        voxels = grid.numel()
        num_points = min(self.num_points or voxels, voxels)
        dense = num_points == voxels
        sampler = PointSampler(
            valid,
            batch=batch,
            voxels=voxels,
            device=features.device,
            targets=targets,
            balanced_ratio=self.balanced_ratio,
        )
        if not dense:
            points = sampler.points(sampler.sample(max(1, num_points // MATCHING_SHARE)))
        elif features.shape[2:] == grid:
            points = Points(None, valid)
        else:  # the mask head interpolates coarser features
            points = Points(torch.arange(voxels, device=features.device).expand(batch, -1), valid)
        if self.matching == "fixed":
            query = torch.where(is_target, classes, -1).expand(layers, -1, -1)
        else:
            cost = self._cost(output, class_logits, targets, classes, points)
            query = assign(cost, counts).to(is_target.device, non_blocking=True)
        if dense:
            return query, points
        if self.importance_ratio == 0:
            return query, sampler.points(sampler.sample(num_points))
        return query, self._uncertain_points(output, query[-1:], is_target, sampler)

    def _cost(
        self, output: QueryOutput, class_logits: Tensor, targets: list[SetTargets], classes: Tensor, points: Points
    ) -> Tensor:
        """Matching cost ``[L, B, Q, T]``."""
        layers, batch, queries, _ = class_logits.shape
        embeddings = output.mask_embeddings.transpose(0, 1).flatten(1, 2)
        features = self._sampled(output.mask_features, points.index)
        no_target = classes.shape[1]
        index = [None] * batch if points.index is None else points.index
        target_index = pad_sequence(
            [t.target_index(i, no_target=no_target) for t, i in zip(targets, index, strict=True)],
            batch_first=True,
            padding_value=no_target,
        )
        sums = PairSums(batch=batch, rows=layers * queries, targets=no_target, like=class_logits)
        step = max(1, chunk_size(features.device) // (batch * layers * queries))
        for start in range(0, target_index.shape[-1], step):
            part = slice(start, start + step)
            weight = None if points.weight is None else points.weight[:, part]
            logits = self._logits(embeddings, features[..., part])
            with no_autocast(logits):
                sums.add(logits, target_index[..., part], weight)
        mask_cost = self.bce_weight * sums.bce() + self.dice_weight * sums.dice()
        mask_cost = torch.unflatten(mask_cost, 1, (layers, queries)).transpose(0, 1)
        return self.class_weight * class_cost(class_logits, classes) + mask_cost

    def _uncertain_points(self, output: QueryOutput, query: Tensor, is_target: Tensor, sampler: PointSampler) -> Points:
        """Points near the borders of the last layer's matched masks, and some newly drawn ones."""
        assert self.num_points is not None
        num_uncertain = int(self.importance_ratio * self.num_points)
        index = sampler.sample(int(self.oversample_ratio * self.num_points))
        # the masks of unmatched queries and of padding are meaningless: a matched one replaces them
        matched_query = torch.where(is_target, query[0], -1)
        query = torch.where(matched_query < 0, matched_query.amax(1, keepdim=True), matched_query)[None]
        embeddings = self._gather_embeddings(output.mask_embeddings[-1:], query)
        certainty = self._logits(embeddings, self._sampled(output.mask_features, index)).abs_().amin(1)
        chosen = index.gather(1, certainty.topk(num_uncertain, dim=1, largest=False, sorted=False).indices)
        return sampler.points(torch.cat([chosen, sampler.sample(self.num_points - num_uncertain)], 1))

    def _sampled(self, features: Tensor, index: Tensor | None) -> Tensor:
        """Features ``[B, C, P]`` at the points, ``[B, P]`` or None for all voxels."""
        return features.flatten(2) if index is None else self.mask_head.sample(features, index)

    def _logits(self, rows: Tensor, features: Tensor) -> Tensor:
        """Mask logits ``[B, R, P]`` of embeddings ``[B, R, E]`` and features ``[B, C, P]``."""
        return at_least_float32(self.mask_head.dense(rows[None], features).squeeze(0))

    @staticmethod
    def _gather_embeddings(embeddings: Tensor, query: Tensor) -> Tensor:
        """The embeddings ``[B, T * L, E]`` of the queries ``[L, B, T]``, targets outermost."""
        index = query.clamp(min=0)[..., None].expand(-1, -1, -1, embeddings.shape[-1])
        return embeddings.gather(2, index).permute(1, 2, 0, 3).flatten(1, 2)

    def _normalizers(self, is_target: Tensor, is_matched: Tensor, has_valid: Tensor, queries: int) -> Tensor:
        """Number of targets, sum of class weights and number of samples, as averages over the ranks of DDP."""
        num_matched = is_matched.sum()
        weight = num_matched + self.no_object_weight * (has_valid.sum() * queries - num_matched)
        sums = torch.stack([is_target.sum().float(), weight.float(), has_valid.sum().float()])
        # where nothing counts, zeros are divided by it, and a loss scale of half precision must not overflow there
        return mean_over_ranks(sums, at_least=1e-6)

    def _semantic(
        self, class_logits: Tensor, logits: Tensor, truth: Tensor, classes: Tensor, is_target: Tensor, points: Points
    ) -> Tensor:
        with no_autocast(logits):
            class_index = torch.arange(self.num_classes, device=classes.device)[:, None]
            has_class = (classes[:, None] == class_index) & is_target[:, None]  # [B, K, T]
            present = has_class.to(logits.dtype) @ truth.to(logits.dtype) > 0
            return semantic_loss(class_logits, logits, present, points.weight, regions=self.regions)

    def _check_targets(self, targets: list[SetTargets], batch: int, queries: int) -> None:
        if len(targets) != batch:
            raise InputError(f"The set loss got {len(targets)} targets for {batch} samples: give one per sample.")
        if self.matching == "fixed" and queries < self.num_classes:
            raise InputError(
                f"Fixed matching gives class c to query c, but there are {queries} queries for {self.num_classes} "
                "classes: plan at least one query per class."
            )


def _target_masks(targets: list[SetTargets], points: Points, rows: int) -> Tensor:
    """Target masks ``[B, T, P]`` bool, False in the padding and where a point does not count."""
    index = [None] * len(targets) if points.index is None else points.index
    masks = torch.stack(
        [F.pad(t.at_points(i), (0, 0, 0, rows - len(t.ids))) for t, i in zip(targets, index, strict=True)]
    )
    return masks if points.weight is None else masks & points.weight[:, None]
