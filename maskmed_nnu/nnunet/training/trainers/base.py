"""What all our trainers share: AdamW with warm-up and poly decay, progress, a budget of minutes."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._dynamo import OptimizedModule

from maskmed_nnu.errors import InputError
from maskmed_nnu.nnunet.training.lr_scheduler import EpochSchedule, WarmupPolyLR
from maskmed_nnu.nnunet.training.progress import Progress
from maskmed_nnu.nnunet.training.time_budget import TimeBudget
from maskmed_nnu.nnunet.training.trainers.resumable import Resumable

Number = TypeVar("Number", int, float)
MAX_EPOCHS = 10
CPU_BATCH_SIZE = 2
"""A short training on a CPU makes more of many small steps than of a few large ones."""


class PluginTrainer(Resumable):
    """nnU-Net's trainer with our optimizer and progress lines; networks and losses come in subclasses.

    With ``minutes`` (names that end in ``_<N>minutes``) the learning rate follows the clock, each epoch has as many
    iterations as its share of the time allows, validation takes 15% of it, and a CPU works on small batches.
    """

    minutes: int | None = None
    # set by nnU-Net's __init__, from plans or by its methods
    batch_size: int
    enable_deep_supervision: bool
    loss: Any

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads and stores this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 1e-3
        self.weight_decay = 3e-5
        # weights, gradients and moments stay in float32 under autocast, so fp16 needs no larger epsilon
        self.adam_eps = 1e-8
        self.progress_seconds = 30.0
        self._progress: Progress | None = None
        self._budget: TimeBudget | None = None
        if self.minutes is not None:
            self._budget = TimeBudget(seconds=60 * self.minutes)
            self.num_epochs = max(2, min(self.minutes, MAX_EPOCHS))
            self.save_every = 1

    def _set_batch_size_and_oversample(self) -> None:
        super()._set_batch_size_and_oversample()
        if self.minutes is not None and self.device.type == "cpu":
            self.batch_size = min(self.batch_size, CPU_BATCH_SIZE)

    def do_split(self) -> tuple[list[str], list[str]]:
        try:
            return super().do_split()
        except ValueError as error:
            if "n_splits" not in str(error):
                raise
            raise InputError(
                f"{self.plans_manager.dataset_name} has fewer training cases than nnU-Net's five folds need: train "
                "fold 'all' on all of them, or describe folds of your own in splits_final.json."
            ) from error

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """nnU-Net's switch sits in a decoder; our networks have it themselves."""
        network = self.network.module if self.is_ddp else self.network
        network = network._orig_mod if isinstance(network, OptimizedModule) else network
        network.deep_supervision = enabled

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, EpochSchedule]:
        optimizer = torch.optim.AdamW(
            self._parameter_groups(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            eps=self.adam_eps,
            fused=self.device.type in ("cpu", "cuda"),
        )
        schedule = WarmupPolyLR(
            optimizer,
            initial_lr=self.initial_lr,
            epochs=self.num_epochs,
            steps_per_epoch=self.num_iterations_per_epoch,
        )
        return optimizer, schedule

    def _parameter_groups(self) -> list[dict]:
        """All parameters, in groups of equal settings; ``lr_scale`` is a group's share of the learning rate."""
        return [{"params": list(self.network.parameters())}]

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self._budget is not None:
            iterations = self._broadcast(self._budget.start_epoch(epochs_left=self.num_epochs - self.current_epoch))
            begun = self._earlier.iterations if self._earlier is not None else None
            self.num_iterations_per_epoch = begun or iterations
        self._progress = Progress(
            total=self.num_iterations_per_epoch, interval=self.progress_seconds, done=self._resumed_at
        )

    def train_step(self, batch: dict) -> dict:
        iteration = self._progress.done if self._progress is not None else 0
        epoch = self.current_epoch + iteration / self.num_iterations_per_epoch
        self.lr_scheduler.step(
            epoch if self._budget is None else self.num_epochs * self._broadcast(self._budget.share())
        )
        result = super().train_step(batch)
        self._log_progress("training", result)
        return result

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        super().on_train_epoch_end(train_outputs)
        if self._budget is not None:
            self._budget.end_iterations(self.num_iterations_per_epoch - self._resumed_at)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if self._budget is not None:
            self.num_val_iterations_per_epoch = self._broadcast(self._budget.validation_iterations)
        self._progress = Progress(total=self.num_val_iterations_per_epoch, interval=self.progress_seconds)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        super().load_checkpoint(filename_or_checkpoint)
        if self._budget is not None:
            stamps = [self.logger.get_value(f"epoch_{end}_timestamps", step=None) for end in ("start", "end")]
            used = sum(end - start for start, end in zip(*stamps, strict=False))
            used += self._earlier.seconds if self._earlier is not None else 0.0
            self._budget = TimeBudget(seconds=self._budget.seconds, used=used)

    def on_epoch_end(self) -> None:
        if self._budget is not None and self.current_epoch == 0:
            # ten iterations have no score that a moving average could start from; to log it twice would be a warning
            self.logger.local_logger.my_fantastic_logging["ema_fg_dice"][0] = 0.0
        super().on_epoch_end()

    def _broadcast(self, number: Number) -> Number:
        """The first rank's, since all ranks must do the same steps, as many of them, and at one learning rate."""
        if not self.is_ddp:
            return number
        numbers = [number]
        dist.broadcast_object_list(numbers, src=0)
        return numbers[0]

    def _do_i_compile(self) -> bool:
        """Only on request (``nnUNet_compile=1``), until compilation has been measured on a GPU."""
        return "nnUNet_compile" in os.environ and super()._do_i_compile()

    def _log_progress(self, phase: str, result: dict) -> None:
        line = self._progress.advance(float(result["loss"])) if self._progress is not None else None
        if line is not None and self.local_rank == 0:
            self.print_to_log_file(f"{phase}: {line}")
