"""How far a study is: from the attempts of its jobs, nnU-Net's logs, and the markers of what is done."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from maskmed_nnu.nnunet.evaluation.training_curves import TrainingCurve, median_seconds, read_curve
from maskmed_nnu.workflow.job_records import Attempt, is_locked, now, read_attempts
from maskmed_nnu.workflow.needs import epochs_left
from maskmed_nnu.workflow.study import BEST, Model, Study

DONE, RUNNING, FAILED, STOPPED, SILENT, WAITING = "done", "running", "failed", "stopped", "silent", "waiting"
"""``stopped``: by a signal, or for lack of memory; it goes on in its next attempt. ``silent``: an attempt that has not
said its end, and is not heard of."""
QUIET = 900
"""Seconds in which a running job writes something; of a training at least three epochs."""
ACTIVE = (RUNNING, SILENT)


@dataclass(frozen=True)
class TrainingStatus:
    """``epoch``: how many are behind it, of ``epochs``; ``score``: the last, of nnU-Net's pseudo Dice or of PQ of
    objects; ``seconds_left``: at the time that an epoch has taken so far, NaN where it is not known."""

    network: str
    configuration: str
    fold: int
    state: str
    epoch: int
    epochs: int
    score: float
    seconds_left: float
    attempts: int
    node: str
    job: str

    def cells(self) -> list[str]:
        """The row of a table."""
        score = "–" if math.isnan(self.score) else f"{self.score:.3f}"
        where = f"{self.node} ({self.job})" if self.job else self.node
        names = [self.network, self.configuration, str(self.fold), self.state]
        return [*names, f"{self.epoch} of {self.epochs}", score, in_words(self.seconds_left), str(self.attempts), where]


HEADER = ("network", "configuration", "fold", "state", "epoch", "Dice or PQ", "left", "attempts", "node (job)")


@dataclass(frozen=True)
class StepStatus:
    """Jobs of one kind that are no trainings. ``broken``: images that could not be predicted. ``hours``: of all their
    attempts."""

    name: str
    total: int
    done: int
    running: int
    failed: int
    attempts: int
    broken: int
    hours: float

    def cells(self) -> list[str]:
        counts = [f"{self.done} of {self.total}", str(self.running), str(self.failed), str(self.attempts)]
        return [self.name, *counts, str(self.broken or "–"), f"{self.hours:.2f}"]


STEP_HEADER = ("step", "done", "running", "failed", "attempts", "broken images", "hours")


@dataclass(frozen=True)
class StudyStatus:
    """``failures``: job and the last lines of its log."""

    study: str
    data_set: str
    at: str
    trainings: tuple[TrainingStatus, ...]
    steps: tuple[StepStatus, ...]
    failures: tuple[tuple[str, str], ...]
    best: tuple[str, ...]
    finished: bool

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def summary(self) -> str:
        done = sum(one.state == DONE for one in self.trainings)
        running = sum(one.state == RUNNING for one in self.trainings)
        state = "finished" if self.finished else f"{done} of {len(self.trainings)} trainings done, {running} running"
        return f"{self.study}: {self.data_set}, {state}"


def read_status(study: Study) -> StudyStatus:
    """Read all logs of a study; the scheduler is not queried."""
    trainings, failures = [], []
    for model in study.models:
        for fold in study.config.folds:
            trainings.append(_training(study, model, fold))
    steps = []
    for name, jobs in _steps(study).items():
        states = [_Job(study, job) for job in jobs]
        steps.append(
            StepStatus(
                name,
                total=len(jobs),
                done=sum(one.state == DONE for one in states),
                running=sum(one.state == RUNNING for one in states),
                failed=sum(one.state in (FAILED, STOPPED) for one in states),
                attempts=sum(len(one.attempts) for one in states),
                broken=sum(one.attempts[-1].broken for one in states if one.attempts),
                hours=sum(hours(attempt) for one in states for attempt in one.attempts),
            )
        )
        failures += [(one.name, _last_words(study, one.name)) for one in states if one.state == FAILED]
    names = [(f"train/{model.name}/fold_{fold}") for model in study.models for fold in study.config.folds]
    failures += [
        (name, _last_words(study, name)) for name, one in zip(names, trainings, strict=True) if one.state == FAILED
    ]
    return StudyStatus(
        study=str(study.folder),
        data_set=study.config.dataset,
        at=now(),
        trainings=tuple(trainings),
        steps=tuple(steps),
        failures=tuple(failures),
        best=tuple(f"{model.network} {model.configuration}" for model in study.chosen()),
        finished=(study.folder / "report.html").is_file(),
    )


def in_words(seconds: float) -> str:
    """
    >>> [in_words(seconds) for seconds in (math.nan, 40, 150, 7300, 200000)]
    ['–', '1 min', '3 min', '2 h 2 min', '2 d 7 h']
    """
    if not math.isfinite(seconds):
        return "–"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def hours(attempt: Attempt) -> float:
    """Of an attempt that has ended."""
    if attempt.ended is None:
        return 0.0
    return (datetime.fromisoformat(attempt.ended) - datetime.fromisoformat(attempt.began)).total_seconds() / 3600


class _Job:
    """A job's attempts and its state."""

    def __init__(self, study: Study, name: str, quiet: float = QUIET, logs: Sequence[Path] = ()) -> None:
        self.name, path = name, study.records(name)
        self.attempts = read_attempts(path)
        marker = MARKERS.get(name.partition("/")[0], "done/{}").format(name, name.rpartition("/")[2])
        self.state = self._state(study.folder / marker, [path, path.with_suffix(".log"), *logs], quiet)

    def _state(self, marker: Path, files: Sequence[Path], quiet: float) -> str:
        last = self.attempts[-1] if self.attempts else None
        if marker.is_file() or (last is not None and last.status == 0):  # an engine that was killed leaves no marker
            return DONE
        if last is None:
            return WAITING
        if last.status is None:
            heard = max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
            return RUNNING if is_locked(files[0]) or time.time() - heard < quiet else SILENT
        return STOPPED if last.out_of_memory or last.status < 0 or last.status > 128 else FAILED


MARKERS = {"best": BEST, "measure": "needs/{1}.json", "report": "reports/{1}.html", "evaluate": "scores.json"}
"""Of jobs whose outputs are no markers in ``done/``; ``{0}`` is the job's name, ``{1}`` its last part."""


def _training(study: Study, model: Model, fold: int) -> TrainingStatus:
    folder = study.training_folder(model, fold)
    curve = read_curve(folder)
    seconds = median_seconds(curve)
    quiet = max(QUIET, 3 * (seconds or 0))
    job = _Job(study, f"train/{model.name}/fold_{fold}", quiet, sorted(folder.glob("training_log_*.txt")))
    left, _ = epochs_left(study, model, str(fold))
    reached = _reached(curve)
    last = job.attempts[-1] if job.attempts else None
    return TrainingStatus(
        network=model.network,
        configuration=model.configuration,
        fold=fold,
        state=job.state,
        epoch=reached,
        epochs=reached + left,
        score=next((epoch.score for epoch in reversed(curve.epochs) if not math.isnan(epoch.score)), math.nan),
        seconds_left=0.0 if job.state == DONE else math.nan if seconds is None else left * seconds,
        attempts=len(job.attempts),
        node=last.node if last else "",
        job=last.job if last else "",
    )


def _reached(curve: TrainingCurve) -> int:
    return curve.epochs[-1].number + 1 if curve.epochs else 0


def _steps(study: Study) -> dict[str, list[str]]:
    """The steps that are no trainings → their jobs; those of the prediction once it is known who predicts."""
    config = study.config
    configurations = dict.fromkeys((model.plans, model.data) for model in study.models)
    steps = {"convert": ["convert"]} if config.convert else {}
    steps |= {
        "fingerprint": ["fingerprint"],
        "plan": [f"plan/{plans}" for plans in study.planners],
        "preprocess": [f"preprocess/{plans}/{configuration}" for plans, configuration in configurations],
        "split": ["split"],
        "measure": [f"measure/{plans}" for plans in study.planners],
        "choose the best": ["best"],
    }
    if config.predict is not None:
        for model in study.predicting():
            steps[f"predict, {model.network} {model.configuration}"] = [
                f"predict/{model.name}/part_{part}" for part in range(config.predict.parts)
            ]
        if len(study.chosen()) > 1:
            steps["ensemble"] = ["ensemble"]
        if study.best().get("postprocessing_file") is not None:
            steps["postprocess"] = ["postprocess"]
        if config.predict.truth is not None:
            steps["evaluate"] = ["evaluate"]
    steps["reports"] = [f"report/{model.name}" for model in study.models]
    return steps


def _last_words(study: Study, job: str, lines: int = 3) -> str:
    """Of its log, without the line that notes the end."""
    log = study.records(job).with_suffix(".log")
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4000, 0))
            said = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in said if line.strip() and not line.startswith("ended with status")]
    return "\n".join(said[-lines:])


def today() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
