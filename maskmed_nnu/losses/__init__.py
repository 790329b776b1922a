"""Targets as label maps, bipartite matching, criteria of queries (set and location), contrastive loss of pixels."""

from __future__ import annotations

from maskmed_nnu.losses.set_criterion import SetCriterion, SetLoss
from maskmed_nnu.losses.targets import SetTargets, region_targets, semantic_targets

__all__ = ["SetCriterion", "SetLoss", "SetTargets", "region_targets", "semantic_targets"]
