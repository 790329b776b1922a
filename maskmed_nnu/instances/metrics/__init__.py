"""All metrics of instances, and `InstanceMetrics`, one accumulator of them all."""

from __future__ import annotations

from maskmed_nnu.instances.metrics.aggregated_jaccard import AggregatedJaccard, aggregated_jaccard
from maskmed_nnu.instances.metrics.average_precision import AveragePrecision
from maskmed_nnu.instances.metrics.comparison import Comparison, compare
from maskmed_nnu.instances.metrics.detection_sensitivity import DetectionSensitivity
from maskmed_nnu.instances.metrics.instance_metrics import InstanceMetrics, with_names
from maskmed_nnu.instances.metrics.lesion_dice import LesionDice
from maskmed_nnu.instances.metrics.matching import Matching, MatchingScores, f1, matching
from maskmed_nnu.instances.metrics.panoptic_quality import PanopticQuality, panoptic_quality

__all__ = [
    "AggregatedJaccard",
    "AveragePrecision",
    "Comparison",
    "DetectionSensitivity",
    "InstanceMetrics",
    "LesionDice",
    "Matching",
    "MatchingScores",
    "PanopticQuality",
    "aggregated_jaccard",
    "compare",
    "f1",
    "matching",
    "panoptic_quality",
    "with_names",
]
