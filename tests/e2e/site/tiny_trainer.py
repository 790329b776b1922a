"""MaskMed's trainer with a handful of iterations; everything else is the real one."""

from __future__ import annotations

import torch

from maskmed_nnu.nnunet.trainers.maskmed import nnUNetTrainerMaskMed


class nnUNetTrainerMaskMedTiny(nnUNetTrainerMaskMed):
    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 2
        self.num_iterations_per_epoch = 3
        self.num_val_iterations_per_epoch = 2
        self.progress_seconds = 0.0
