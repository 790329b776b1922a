"""One of the installed commands, whose training notes each step it has done; used by `benchmarks.survival`.

    python -m benchmarks.survival.traced nnUNetv2_train 1 2d 0 -tr ...

``TRACE`` in the environment names the file that gets a line for each step, epoch and number; ``EPOCHS``, ``STEPS`` and
``VALIDATION`` are the length of the training, ``SAVE_SECONDS`` the time between checkpoints.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from typing import Any


def trace_steps() -> None:
    """Watch the trainer that nnU-Net's command builds."""
    from nnunetv2.run import run_training

    stock = run_training.get_trainer_from_args

    def get_trainer_from_args(*args: Any, **kwargs: Any) -> Any:
        trainer = stock(*args, **kwargs)
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = (
            int(os.environ[name]) for name in ("EPOCHS", "STEPS", "VALIDATION")
        )
        trainer.save_seconds = float(os.environ.get("SAVE_SECONDS", trainer.save_seconds))
        step = trainer.train_step

        def train_step(batch: dict) -> dict:
            number = len(trainer._outputs)
            result = step(batch)
            with open(os.environ["TRACE"], "a") as file:
                file.write(f"{trainer.current_epoch} {number}\n")
            return result

        trainer.train_step = train_step
        return trainer

    run_training.get_trainer_from_args = get_trainer_from_args


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "nnUNetv2_train":
        trace_steps()
    (entry_point,) = entry_points(group="console_scripts", name=command)
    sys.argv = [command, *arguments]
    raise SystemExit(entry_point.load()())
