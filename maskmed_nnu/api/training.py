"""Train and evaluate a network on a raw data set with nnU-Net's own commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmed_nnu.cpus import process_count
from maskmed_nnu.errors import CommandError, InputError

if TYPE_CHECKING:
    from maskmed_nnu.api.object_evaluation import ObjectEvaluation
    from maskmed_nnu.nnunet.discovery.choices import Choice
    from maskmed_nnu.nnunet.trial.raw_data_set import DataSet
    from maskmed_nnu.semantic.evaluation import SemanticEvaluation

NOTHING_FOUND = (
    "The network finds nothing in these cases. If its loss still falls (maskmed report {model}), train for more epochs "
    "or minutes; otherwise check the labels."
)


@dataclass(frozen=True)
class Step:
    """One of nnU-Net's commands; if ``command`` is empty, a note about a finished step."""

    title: str
    command: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command, quoted for a shell."""
        return shlex.join(self.command)


@dataclass(frozen=True)
class TrainingResult:
    """What `train` did, or would do with ``dry_run``.

    ``scores`` are nnU-Net's means over the foreground of each fold's validation; ``"crossval"`` stands for several
    folds together. ``evaluation`` is the result of `maskmed_nnu.evaluate` for these predictions of unseen cases; it is
    None if there are none, and ``notes`` give the reason.
    """

    data_set: str
    network: str
    reason: str
    configuration: str
    trainer: str
    plans: str
    folds: tuple[str, ...]
    model: Path
    steps: tuple[Step, ...]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    evaluation: SemanticEvaluation | ObjectEvaluation | None = None
    notes: tuple[str, ...] = ()

    @property
    def next_command(self) -> str:
        """Predicts with the trained folds."""
        return f"maskmed predict -m {shlex.quote(str(self.model))} -i IMAGES -o PREDICTIONS"

    @property
    def commands(self) -> list[str]:
        """The commands of all steps, quoted for a shell."""
        return [step.line for step in self.steps if step.command]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        steps = [{"title": step.title, "command": step.line or None} for step in self.steps]
        evaluation = None if self.evaluation is None else self.evaluation.to_json()
        return {
            **asdict(replace(self, evaluation=None)),
            "model": str(self.model),
            "steps": steps,
            "evaluation": evaluation,
            "next_command": self.next_command,
        }


def train(
    dataset: str | int,
    network: str | None = None,
    *,
    folds: Sequence[str | int] | str | int | None = None,
    configuration: str | None = None,
    epochs: int | None = None,
    minutes: int | None = None,
    device: str = "auto",
    dry_run: bool = False,
    progress: Callable[[Step], None] | None = None,
    output: Callable[[bytes], object] | None = None,
) -> TrainingResult:
    """Plan, preprocess, train, validate: finished steps are skipped, interrupted ones resume.

    Parameters
    ----------
    dataset
        Number or name of a data set in ``nnUNet_raw``.
    network
        Name of a network, as in "maskmed"; by default the one suggested for the data set (see `plan`).
    folds
        Numbers of folds, or "all". By default fold 0: one network, trained on four fifths of the cases and evaluated on
        the others. With fewer than five cases it is "all": trained and evaluated on every case.
    configuration
        "2d", "3d_fullres" …; by default 2d for 2D images and 2D networks, else 3d_fullres.
    epochs, minutes
        Length of the training; by default that of the trainer, 1000 epochs.
    device
        "auto", "cpu", "cuda" or "mps".
    dry_run
        Run nothing; the result lists the commands.
    progress
        Called with each step before it begins.
    output
        Called with the output of the commands, line by line, from another thread.

    Raises
    ------
    InputError
        If the data set, network or fold does not exist, or the length is invalid.
    CommandError
        If a command fails; ``status`` is its exit status.

    Examples
    --------
    >>> train(4, epochs=50, dry_run=True).commands  # doctest: +SKIP
    """
    from maskmed_nnu.api.validation import evaluate_validation, mean_scores
    from maskmed_nnu.nnunet.discovery.choices import find_choice, suggest
    from maskmed_nnu.nnunet.inference.devices import choose_device
    from maskmed_nnu.nnunet.inference.trained_model import check_hook
    from maskmed_nnu.nnunet.preflight.machine import gpu_memory_gb
    from maskmed_nnu.nnunet.trial.raw_data_set import find_raw_data_set
    from maskmed_nnu.nnunet.trial.training_state import check_folders, number_of_folds

    if epochs is not None and minutes is not None:
        raise InputError("epochs and minutes are both given; give one of them.")
    for name, length in (("epochs", epochs), ("minutes", minutes)):
        if length is not None and length < 1:
            raise InputError(f"{length} {name} is not a length of a training; give at least 1.")
    check_hook()
    check_folders()
    chosen_device = choose_device(device)
    data = find_raw_data_set(dataset, purpose="The training")
    if network is None:
        choice, reason = suggest(objects=data.objects, gpu_gb=gpu_memory_gb())
    else:
        choice, reason = find_choice(network, objects=data.objects, data_set=data.name), "named by the user"
    if configuration is None:
        configuration = "2d" if choice.flat_only or data.is_flat() else "3d_fullres"
    trainer = choice.trainer(objects=data.objects, epochs=epochs, minutes=minutes)
    available = number_of_folds(data.name, data.folder, len(data.cases))
    wanted = _folds(folds, available, data)
    model = Path(os.environ["nnUNet_results"]) / data.name / f"{trainer}__{choice.plans}__{configuration}"
    steps = _steps(data, choice, configuration, trainer, wanted, model, chosen_device)
    for step in steps:
        if progress is not None:
            progress(step)
        if step.command and not dry_run:
            _run(step, output)
    evaluation, notes = (None, ()) if dry_run else evaluate_validation(model, wanted, data)
    scores = mean_scores(model, wanted)
    found = [means[name] for means in scores.values() for name in ("Dice", "AP50") if name in means]
    if found and not any(found) and not dry_run:
        notes += (NOTHING_FOUND.format(model=shlex.quote(str(model))),)
    return TrainingResult(
        data_set=data.name,
        network=choice.name,
        reason=reason,
        configuration=configuration,
        trainer=trainer,
        plans=choice.plans,
        folds=tuple(wanted),
        model=model,
        steps=tuple(steps),
        scores=scores,
        evaluation=evaluation,
        notes=notes,
    )


def _run(step: Step, output: Callable[[bytes], object] | None) -> None:
    from maskmed_nnu.stock_command import run_command

    said: list[bytes] = []

    def write(chunk: bytes) -> None:
        said[:] = [b"".join(said)[-2000:] + chunk]
        if output is not None:
            output(chunk)

    status = run_command(step.command, write=write)
    if status:
        lines = b"".join(said).decode(errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines and output is None else "; the reason is in its output"
        raise CommandError(f"{step.line} ended with status {status}{last}", status=status)


def _folds(folds: Sequence[str | int] | str | int | None, available: int, data: DataSet) -> list[str]:
    """
    Raises:
        InputError: for a fold that there is not.
    """
    if folds is None:
        return ["0"] if available else ["all"]
    given = [folds] if isinstance(folds, int) else folds.replace(",", " ").split() if isinstance(folds, str) else folds
    wanted = list(dict.fromkeys(str(fold) for fold in given))
    if not wanted:
        raise InputError("No fold is named; give numbers from 0, or 'all', or leave the folds out for fold 0.")
    legal = [*map(str, range(available)), "all"]
    unknown = [fold for fold in wanted if fold not in legal]
    if unknown and not available:
        raise InputError(
            f"{data.name} has {len(data.cases)} training cases, fewer than nnU-Net's five folds need; train fold 'all'."
        )
    if unknown:
        raise InputError(f"{data.name} has no fold {unknown[0]}; its folds are {', '.join(legal)}.")
    return wanted


def _steps(
    data: DataSet, choice: Choice, configuration: str, trainer: str, folds: Sequence[str], model: Path, device: str
) -> list[Step]:
    from maskmed_nnu.nnunet.trial.training_state import fold_state, preprocessed

    number, cores = data.number, str(process_count())
    ending = str(data.description.get("file_ending"))
    state = preprocessed(data.name, choice.plans, configuration, list(data.cases), ending)
    if state == "nothing":
        plan = ["nnUNetv2_plan_and_preprocess", "-d", number, "-pl", choice.planner, "-c", configuration]
        plan += ["--verify_dataset_integrity", "-npfp", cores, "-np", cores]
        steps = [Step("plan and preprocess", tuple(plan))]
    elif state == "planned":
        again = ["nnUNetv2_preprocess", "-d", number, "-plans_name", choice.plans, "-c", configuration, "-np", cores]
        steps = [Step("preprocess with the existing plans", tuple(again))]
    else:
        steps = [Step(f"planned and preprocessed before, in {choice.plans}")]
    for fold in folds:
        command = ["nnUNetv2_train", number, configuration, fold, "-p", choice.plans, "-tr", trainer, "-device", device]
        match fold_state(model, fold):
            case "finished":
                steps.append(Step(f"fold {fold} was trained and validated before"))
            case "trained":
                steps.append(Step(f"validate fold {fold}, which is trained", (*command, "--val")))
            case "interrupted":
                steps.append(Step(f"resume the training of fold {fold}", (*command, "--c")))
            case _:
                steps.append(Step(f"train fold {fold}", tuple(command)))
    numbered = [fold for fold in folds if fold != "all"]
    if len(numbered) > 1:
        best = ["nnUNetv2_find_best_configuration", number, "-p", choice.plans, "-tr", trainer, "-c", configuration]
        best += ["-f", *numbered, "--disable_ensembling", "-np", cores]
        steps.append(Step("evaluate the folds together", tuple(best)))
    return steps
