"""One of the installed commands with a number of threads and a record of its run; used by ``compare_instances.py``.

    python benchmarks/stock_command.py THREADS SEED STEPS RECORD nnUNetv2_train 1 2d all -tr ...

On a CPU nnU-Net takes a thread per core of the machine; here it takes THREADS. The trainers of ``timed_trainers.py``
are known after ``-tr``. SEED is that of the first weights and, without augmentation processes, of the batches. STEPS
other than 0 are a training's length, in ten epochs, with batches of two. RECORD (json) gets parameters, multiply-adds
of a patch, iterations and seconds of a training, whose final validation is left out, or images and seconds of a
prediction: from the preprocessed image to what is exported, mirroring included.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import statistics
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
EPOCHS, BATCH = 10, 2
"""Of a training of so many steps."""


def watch_training(record: dict[str, Any], seed: int, steps: int) -> None:
    """Count what the trainer does that nnU-Net's command builds, and let it do so many steps."""
    import numpy
    import torch
    from methods import multiply_adds
    from nnunetv2.run import run_training

    stock = run_training.get_trainer_from_args

    def get_trainer_from_args(*args: Any, **kwargs: Any) -> Any:
        trainer = stock(*args, **kwargs)
        for seeder in (random.seed, numpy.random.seed, torch.manual_seed):
            seeder(seed)
        if steps:
            trainer.num_epochs, trainer.num_iterations_per_epoch = EPOCHS, steps // EPOCHS
            trainer.num_val_iterations_per_epoch = 2
            trainer.configuration_manager.configuration["batch_size"] = BATCH
        start, step, end = trainer.on_train_start, trainer.train_step, trainer.on_train_end
        record["iterations"], seconds = 0, []

        def on_train_start() -> None:
            start()
            record["parameters"] = sum(p.numel() for p in trainer.network.parameters())
            record["multiply_adds"] = multiply_adds(trainer)
            record["seconds"] = -time.monotonic()

        def train_step(batch: dict) -> dict:
            begin = time.monotonic()
            result = step(batch)
            seconds.append(time.monotonic() - begin)
            record["iterations"] += 1
            return result

        def on_train_end() -> None:
            record["seconds"] += time.monotonic()
            record["seconds_per_step"] = statistics.median(seconds)
            end()

        trainer.on_train_start, trainer.train_step, trainer.on_train_end = on_train_start, train_step, on_train_end
        trainer.perform_actual_validation = lambda *_: None
        return trainer

    run_training.get_trainer_from_args = get_trainer_from_args


def watch_prediction(record: dict[str, Any]) -> None:
    """Measure the predictor that nnU-Net's command builds."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    stock = nnUNetPredictor.predict_logits_from_preprocessed_data
    record |= {"images": 0, "seconds": 0.0}

    def predict_logits_from_preprocessed_data(self: Any, data: Any) -> Any:
        begin = time.monotonic()
        output = stock(self, data)
        record["seconds"] += time.monotonic() - begin
        record["images"] += 1
        return output

    nnUNetPredictor.predict_logits_from_preprocessed_data = predict_logits_from_preprocessed_data


def main() -> None:
    threads, seed, steps, output, command, *arguments = sys.argv[1:]
    sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent)]
    import torch

    from maskmed_nnu.nnunet.discovery.names import NAMES

    torch.set_num_threads(int(threads))
    multiprocessing.cpu_count = lambda: int(threads)
    for name in ("nnUNetTrainerTimed", "nnUNetTrainerIAUNetPublished"):
        NAMES["trainer"][name] = f"timed_trainers:{name}"
    record: dict[str, Any] = {}
    if command == "nnUNetv2_train":
        watch_training(record, int(seed), int(steps))
    elif command == "nnUNetv2_predict" or arguments[0] == "predict":
        watch_prediction(record)
    (entry_point,) = entry_points(group="console_scripts", name=command)
    sys.argv = [command, *arguments]
    status = entry_point.load()()
    if not status and record:
        Path(output).write_text(json.dumps(record))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
