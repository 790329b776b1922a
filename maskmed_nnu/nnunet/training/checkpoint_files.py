"""Names of nnU-Net's checkpoints, and which of them a training goes on from."""

from __future__ import annotations

from pathlib import Path

FINAL, LATEST, BEST = "checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth"
LOOKED_FOR = (FINAL, LATEST, BEST)
"""In the order in which nnU-Net looks for them."""


def stopped_after_the_final(fold: Path) -> bool:
    """Whether a training was stopped that began where an earlier one had come to its end.

    nnU-Net would take the final checkpoint and be done. Where a training comes to its end it removes the latest one.
    """
    final, latest = fold / FINAL, fold / LATEST
    return final.is_file() and latest.is_file() and latest.stat().st_mtime_ns > final.stat().st_mtime_ns
