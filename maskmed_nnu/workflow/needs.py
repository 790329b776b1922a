"""What the jobs of a study ask a scheduler for: from plans, from measured times, from what they ran out of before."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from maskmed_nnu.json_file import read_json
from maskmed_nnu.workflow.config import Job
from maskmed_nnu.workflow.job_records import read_attempts
from maskmed_nnu.workflow.study import Model, Study

EPOCHS, STEPS = 1000, 250 + 50 / 3
"""nnU-Net's: epochs of a training, and steps of one; each of the 50 of a validation, without gradients, is a third."""
SPARE_TIME, SPARE_MEMORY = 1.3, 1.15
START_MINUTES, LEAST_MINUTES = 20, 60
BASE_GB, WORKER_GB, COPIES = 6.0, 0.5, 8
"""RAM of a training: its process, a worker, and copies of a batch that a worker's augmentation holds."""
_LENGTH = re.compile(r"_(\d+)(epoch|minute)s?$")


def megabytes(study: Study, name: str, gigabytes: float) -> int:
    """RAM of a job, twice as much for each time that it ran out of it."""
    starved = sum(attempt.out_of_memory for attempt in read_attempts(study.records(name)))
    return math.ceil(min(gigabytes * 2.0**starved, study.config.most_memory_gb) * 1000)


def training_megabytes(study: Study, model: Model, name: str, needs: Path) -> int:
    """RAM of a training: what the config says, or what its patch, batch and workers suggest.

    Raises:
        FileNotFoundError: names ``needs`` where `maskmed_nnu.workflow.measure` has not written it yet.
    """
    job = study.config.jobs.train
    gigabytes = job.memory_gb
    if gigabytes is None:
        need = _of(model, needs)
        batch = math.prod(need["patch"]) * need["batch"] * (need["channels"] + 2) * 4 / 1e9
        gigabytes = BASE_GB + job.cpus * (WORKER_GB + COPIES * batch)
    return megabytes(study, name, gigabytes)


def training_minutes(study: Study, model: Model, fold: str, needs: Path) -> int:
    """Wall time of a training's next attempt: the epochs that are left, at the time that an epoch took, and a spare.

    At most the config's ``hours``: a training that needs longer goes on in its next attempt.

    Raises:
        FileNotFoundError: names ``needs``.
    """
    most = study.config.jobs.train.hours * 60
    left, seconds = epochs_left(study, model, fold)
    if seconds is None:
        step = _of(model, needs)["seconds"]
        seconds = None if step is None else step * STEPS
    length = _LENGTH.search(model.trainer)
    if length and length[2] == "minute":
        minutes: float = int(length[1])
    elif seconds is None:
        return math.ceil(most)
    else:
        minutes = left * seconds / 60
    return math.ceil(min(max(START_MINUTES + SPARE_TIME * minutes, LEAST_MINUTES), most))


def epochs_left(study: Study, model: Model, fold: str) -> tuple[int, float | None]:
    """Epochs that a training has before it, and the median seconds of those behind it."""
    from maskmed_nnu.nnunet.evaluation.training_curves import median_seconds, read_curve

    curve = read_curve(study.training_folder(model, fold))
    length = _LENGTH.search(model.trainer)
    planned = curve.planned or (int(length[1]) if length and length[2] == "epoch" else EPOCHS)
    reached = curve.epochs[-1].number + 1 if curve.epochs else 0
    return max(planned - reached, 0), median_seconds(curve)


def gpu_model(study: Study, model: Model, needs: Path) -> str:
    """The smallest of the config's kinds of GPUs that has room for the training; "" where any will do.

    Raises:
        FileNotFoundError: names ``needs``.
    """
    memory, kinds = _of(model, needs)["memory_gb"], study.config.gpu_models
    if not kinds or memory is None:
        return ""
    by_size = sorted(kinds, key=lambda name: kinds[name])
    return next((name for name in by_size if kinds[name] >= memory * SPARE_MEMORY), by_size[-1])


def minutes(job: Job) -> int:
    return math.ceil(job.hours * 60)


def _of(model: Model, needs: Path) -> dict[str, Any]:
    with Path(needs).open("rb"):  # Snakemake knows by this error that a job before has to write it
        pass
    content: dict[str, Any] = read_json(needs, expected="what trainings need")[model.configuration]
    return content
