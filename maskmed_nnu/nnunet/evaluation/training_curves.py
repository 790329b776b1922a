"""How a training went, epoch by epoch, from what nnU-Net left in the folder of a fold.

nnU-Net logs as text, a file for each start, and keeps the same numbers in its checkpoints. The text comes first: it
holds every epoch, also after the last checkpoint. Where it is gone, a checkpoint is read as data, without unpickling
anything but numbers.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.json_file import read_optional_object
from maskmed_nnu.nnunet.training.checkpoint_files import FINAL, LOOKED_FOR

NOTES = "debug.json"
"""What nnU-Net notes of a training in the folder of its fold."""
NUMBER = r"([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))"
_STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.?\d*: "
_EPOCH = re.compile(_STAMP + r"Epoch (\d+)\s*$")
_LINES = {
    "learning_rate": re.compile(_STAMP + rf"Current learning rate: {NUMBER}"),
    "train_loss": re.compile(_STAMP + rf"train_loss {NUMBER}"),
    "val_loss": re.compile(_STAMP + rf"val_loss {NUMBER}"),
    "seconds": re.compile(_STAMP + rf"Epoch time: {NUMBER} s"),
}
_SCORES = re.compile(_STAMP + r"Pseudo dice \[(.*)\]")
_WRAPPER = re.compile(r"(?:np|numpy)\.float\d+\(|\)")


@dataclass(frozen=True)
class Epoch:
    """What was logged of an epoch; NaN where nothing was. ``score`` is the mean over the classes of nnU-Net's pseudo
    Dice, or of what a trainer of objects logs in its place."""

    number: int
    train_loss: float = math.nan
    val_loss: float = math.nan
    score: float = math.nan
    learning_rate: float = math.nan
    seconds: float = math.nan


@dataclass(frozen=True)
class TrainingCurve:
    """The epochs of a fold that count: those before a restart that were trained again do not.

    ``finished``: the final checkpoint is there, or all ``planned`` epochs were logged.
    """

    fold: str
    epochs: tuple[Epoch, ...]
    finished: bool
    planned: int | None = None
    from_checkpoint: bool = False


def read_curve(folder: Path) -> TrainingCurve:
    """That of ``fold_N``; without epochs where there is neither a log nor a checkpoint that can be read."""
    epochs, planned = _from_logs(folder), _planned_epochs(folder)
    fold, from_checkpoint = folder.name.removeprefix("fold_"), not epochs
    epochs = epochs or _from_checkpoints(folder)
    reached = epochs[-1].number + 1 if epochs else 0
    finished = (folder / FINAL).is_file() or (planned is not None and 0 < planned <= reached)
    return TrainingCurve(fold, epochs, finished, planned, from_checkpoint)


def median_seconds(curve: TrainingCurve) -> float | None:
    """Of an epoch; None where no time was logged."""
    known = [epoch.seconds for epoch in curve.epochs if math.isfinite(epoch.seconds)]
    return statistics.median(known) if known else None


def _from_logs(folder: Path) -> tuple[Epoch, ...]:
    found: dict[int, dict[str, float]] = {}
    for file in sorted(folder.glob("training_log_*.txt"), key=_started):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            _take(line, found)
    return tuple(
        Epoch(number, **values)
        for number, values in sorted(found.items())
        if "train_loss" in values  # not cut off
    )


def _take(line: str, found: dict[int, dict[str, float]]) -> None:
    """Put what a line tells into the epoch that was begun last."""
    if begun := _EPOCH.match(line):
        number = int(begun[1])
        for later in [one for one in found if one >= number]:  # trained again after a restart
            del found[later]
        found[number] = {}
        return
    if not found:
        return
    now = found[max(found)]
    if scores := _SCORES.match(line):
        now["score"] = _mean([float(value) for value in re.findall(NUMBER, _WRAPPER.sub("", scores[1]))])
    for name, pattern in _LINES.items():
        if value := pattern.match(line):
            now[name] = float(value[1])


def _started(file: Path) -> tuple[int, ...]:
    """When the log was begun, by its name, whose month and day have no leading zeros."""
    return tuple(int(number) for number in re.findall(r"\d+", file.stem))


def _planned_epochs(folder: Path) -> int | None:
    epochs = str(read_optional_object(folder / NOTES).get("num_epochs"))
    return int(epochs) if epochs.isdecimal() else None


def _from_checkpoints(folder: Path) -> tuple[Epoch, ...]:
    for name in LOOKED_FOR:
        if (folder / name).is_file():
            epochs = tuple(_logged(_read_as_data(folder / name)))
            if epochs:
                return epochs
    return ()


def _read_as_data(file: Path) -> Mapping[str, Any]:
    """What a checkpoint logged; nothing where it holds more than tensors and numbers, or is damaged."""
    import numpy as np
    import torch

    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]  # the function that makes NumPy's numbers, wherever it is
    harmless: list[Any] = [scalar, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType]
    try:
        with torch.serialization.safe_globals(harmless):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises whatever it likes at files that are damaged or hold other objects
        return {}
    logged = content.get("logging") if isinstance(content, dict) else None
    return logged if isinstance(logged, dict) else {}


def _logged(logging: Mapping[str, Any]) -> Iterator[Epoch]:
    lists = {key: values for key, values in logging.items() if isinstance(values, list)}
    for number in range(len(lists.get("train_losses", []))):

        def at(key: str, index: int = number) -> float:
            values = lists.get(key, [])
            return float(values[index]) if index < len(values) else math.nan

        seconds = at("epoch_end_timestamps") - at("epoch_start_timestamps")
        yield Epoch(number, at("train_losses"), at("val_losses"), at("mean_fg_dice"), at("lrs"), seconds)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
