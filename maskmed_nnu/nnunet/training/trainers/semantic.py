"""Trainers of semantic networks, which output one dense map in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from maskmed_nnu.nnunet.training.trainers.base import PluginTrainer
from maskmed_nnu.nnunet.training.trainers.mirror_aware import MirrorAware


class SemanticTrainer(MirrorAware, PluginTrainer):
    """nnU-Net's validation, on that map and the finest target; mirroring as planned."""

    def validation_step(self, batch: dict) -> dict:
        """nnU-Net's pseudo Dice and loss."""
        target = batch["target"]
        with self._without_deep_supervision():
            result = super().validation_step({**batch, "target": target[0] if isinstance(target, list) else target})
        self._log_progress("validation", result)
        return result

    @contextmanager
    def _without_deep_supervision(self) -> Iterator[None]:
        """nnU-Net's methods as they are without deep supervision."""
        before = self.enable_deep_supervision, self.loss
        self.enable_deep_supervision = False
        if isinstance(self.loss, DeepSupervisionWrapper):
            self.loss = self.loss.loss
        try:
            yield
        finally:
            self.enable_deep_supervision, self.loss = before
