"""Trainings that end within a step when a signal asks for it, and go on there with ``--c``."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import Any

import torch
import torch.distributed as dist
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from maskmed_nnu.atomic_write import files_atomically, remove_partial, write_atomically
from maskmed_nnu.machine_errors import explain
from maskmed_nnu.nnunet.training.checkpoint_files import BEST, FINAL, LATEST, stopped_after_the_final
from maskmed_nnu.nnunet.training.job import describe_job, load_in_this_process_on_one_cpu
from maskmed_nnu.nnunet.training.position import KEY, Position, random_state, restore_random_state
from maskmed_nnu.nnunet.training.workers import end_workers, ending_with_the_training, next_batch, quiet_in_workers
from maskmed_nnu.signals import Interrupted, Request, end_with_parent, name_of, noted

PLOT = "progress.png"


class Resumable(nnUNetTrainer):
    """Mixed into a trainer: nnU-Net's loop, which looks between two steps whether a signal came.

    Then, and every ``save_seconds``, it writes ``checkpoint_latest.pth`` with the position within the epoch. A
    checkpoint is complete under its name or not there at all, and on the disk when it has its name. nnU-Net reads it as
    one of its own.
    """

    save_seconds = 600.0
    num_epochs: int
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int
    _outputs: Sequence[Any] = ()
    """Of the steps of this epoch."""
    _resumed_at = 0
    """How many of them an earlier run did."""
    _earlier: Position | None = None
    """Where a checkpoint was written; None once the training has gone on from there."""
    _validation_random: dict[str, Any] | None = None
    """The state with which the validation of this epoch has begun, and begins again after a stop."""
    _logs = True
    _request: Request = Request()
    _saved_at = 0.0
    _unsaved = False
    """Whether there is more than in ``checkpoint_latest.pth``."""

    def run_training(self) -> None:
        """
        Raises
        ------
        Interrupted
            After a signal, once the checkpoint is written and the workers have ended.
        """
        if self.is_ddp:
            end_with_parent(signal.SIGTERM)
        with noted() as self._request, ending_with_the_training():
            try:
                self.on_train_start()
                self._saved_at = monotonic()
                while self.current_epoch < self.num_epochs:
                    self._run_epoch()
                self.on_train_end()
                self._unsaved = False
                self._between_steps()
            finally:
                for loader in (self.dataloader_train, self.dataloader_val):
                    end_workers(loader)

    def _run_epoch(self) -> None:
        earlier = self._earlier or Position()
        self._outputs = outputs = list(earlier.outputs)
        self._resumed_at = len(outputs)
        self.on_epoch_start()
        self.on_train_epoch_start()
        self._restore_random_state()
        self._earlier = None
        while len(outputs) < self.num_iterations_per_epoch:
            self._between_steps()
            outputs.append(self.train_step(next_batch(self.dataloader_train)))
            self._unsaved = True
        self._between_steps()
        self._validation_random = random_state(self.device)
        self.on_train_epoch_end(outputs)
        with torch.no_grad():
            self.on_validation_epoch_start()
            validated = []
            for _ in range(self.num_val_iterations_per_epoch):
                validated.append(self.validation_step(next_batch(self.dataloader_val)))
                self._between_steps()
            self.on_validation_epoch_end(validated)
        self._validation_random = None
        self.on_epoch_end()

    def on_train_start(self) -> None:
        load_in_this_process_on_one_cpu()
        self.print_to_log_file(describe_job(self.device.type), also_print_to_console=False)
        if self.local_rank == 0:
            folder = Path(self.output_folder)
            remove_partial({folder / name for name in (LATEST, BEST, FINAL, PLOT)})
        stock = self.logger.local_logger.plot_progress_png

        def plot(folder: str) -> None:
            try:
                with files_atomically(Path(folder) / PLOT) as partial:
                    stock(str(partial))
            except OSError as error:
                self._note(error)

        self.logger.local_logger.plot_progress_png = plot
        super().on_train_start()

    def print_to_log_file(self, *args: object, also_print_to_console: bool = True, add_timestamp: bool = True) -> None:
        """Where the disk takes no more, lines are printed only: a training is not lost for them, nor for its plot."""
        words = (f"{datetime.now()}:", *args) if add_timestamp else args
        if also_print_to_console:
            print(*words)
        if self.local_rank != 0:
            return
        try:
            with open(self.log_file, "a+", encoding="utf-8") as file:
                print(*words, "", file=file)
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        """Say once that log and plot stay behind."""
        if self._logs:
            print(f"Note: {explain(error, again='the log goes on')} The training goes on; its lines are printed.")
        self._logs = False

    def get_tr_and_val_datasets(self) -> tuple:
        return tuple(map(quiet_in_workers, super().get_tr_and_val_datasets()))

    def on_epoch_start(self) -> None:
        """An epoch that goes on has begun as long ago as it has run."""
        super().on_epoch_start()
        if self._earlier is not None:
            self.logger.local_logger.my_fantastic_logging["epoch_start_timestamps"][-1] -= self._earlier.seconds

    def save_checkpoint(self, filename: str) -> None:
        """At the end of an epoch, as nnU-Net calls it; complete under its name or not there at all."""
        self._save(filename, Position(random=[random_state(self.device)]))
        if os.path.basename(filename) == LATEST:
            self._saved_at, self._unsaved = monotonic(), False

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        file = filename_or_checkpoint
        if self.logger.resume and isinstance(file, str) and stopped_after_the_final(Path(file).parent):
            file = str(Path(file).with_name(LATEST)) if Path(file).name == FINAL else file
        if not self.was_initialized:
            self.initialize()
        found: dict[str, Any] = {}
        hook = self.optimizer.register_load_state_dict_pre_hook(lambda _, state: found.update(state.get(KEY, {})))
        try:
            super().load_checkpoint(file)
        finally:
            hook.remove()
        self._earlier = Position.from_state(found) if found else None
        for values in self.logger.local_logger.my_fantastic_logging.values():
            del values[self.current_epoch :]  # of an epoch that was not over

    def _between_steps(self) -> None:
        """Save where it is time, and end where a signal came; with DDP all ranks after the same step."""
        number, due = self._agreed(self._request.number or 0, monotonic() - self._saved_at >= self.save_seconds)
        if self._unsaved and (number or due):
            self._save_position()
        if not number:
            return
        if self.is_ddp:
            dist.barrier()  # the first rank that ends takes the others along
            dist.destroy_process_group()
        if self.local_rank == 0:
            self.print_to_log_file(self._last_sentence(number))
        raise Interrupted(number, None)

    def _agreed(self, number: int, due: bool) -> tuple[int, bool]:
        if not self.is_ddp:
            return number, due
        asked = torch.tensor([number, due], device=self.device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        number, due = asked.tolist()
        return number, bool(due)

    def _save_position(self) -> None:
        own = self._validation_random or random_state(self.device)
        states: list[Any] = [own]
        if self.is_ddp:
            states = [None] * dist.get_world_size()
            dist.all_gather_object(states, own)
        began = self.logger.get_value("epoch_start_timestamps", step=-1)
        position = Position(self._outputs, self.num_iterations_per_epoch, time() - began, states)
        self.current_epoch -= 1  # nnU-Net writes the number of the epoch after this one
        try:
            self._save(os.path.join(self.output_folder, LATEST), position)
        finally:
            self.current_epoch += 1
        self._saved_at, self._unsaved = monotonic(), False

    def _save(self, filename: str, position: Position) -> None:
        stock = super().save_checkpoint
        if self.local_rank != 0 or self.disable_checkpointing:
            stock(filename)
            return

        def write(partial: Path) -> None:
            with partial.open("wb") as file:  # whose errors are the system's, where torch's own say nothing
                stock(file)

        state = position.to_state()
        hook = self.optimizer.register_state_dict_post_hook(lambda _, content: {**content, KEY: state})
        try:
            write_atomically(Path(filename), write, durable=True, needed=self._checkpoint_bytes())
        finally:
            hook.remove()

    def _checkpoint_bytes(self) -> int:
        """Of weights and moments, the least that a checkpoint takes."""
        moments = [value for of_one in self.optimizer.state.values() for value in of_one.values()]
        tensors = [*self.network.state_dict().values(), *(value for value in moments if torch.is_tensor(value))]
        return sum(tensor.nbytes for tensor in tensors)

    def _restore_random_state(self) -> None:
        if self._earlier is not None and self.local_rank < len(self._earlier.random):
            restore_random_state(self._earlier.random[self.local_rank], self.device)

    def _last_sentence(self, number: int) -> str:
        if self.current_epoch >= self.num_epochs:
            return f"Stopped by {name_of(number)}; the training is complete, and --c does its validation."
        where = f"{name_of(number)} after {len(self._outputs)} steps of epoch {self.current_epoch}"
        if self.disable_checkpointing:
            return f"Stopped by {where}; checkpoints are switched off, so that nothing is left to go on from."
        return f"Stopped by {where}; the same command with --c resumes from there."
