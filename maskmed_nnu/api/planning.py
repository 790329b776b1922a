"""Compare what each planner would choose for a data set, before anything is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from maskmed_nnu.nnunet.discovery.choices import Choice
    from maskmed_nnu.nnunet.trial.raw_data_set import DataSet

STOCK_REASON = "patch, batch and stages are nnU-Net's own rules for 8 GB"


@dataclass(frozen=True)
class PlannedConfiguration:
    """One configuration of one network.

    ``patch`` and ``spacing`` are in the order of the plans (z, y, x). ``memory_gb`` is the planner's estimate for the
    training, ``steps_per_hour`` is measured on this machine; if it could not be, ``failure`` gives the reason.
    """

    network: str
    title: str
    planner: str
    plans: str
    trainer: str
    configuration: str
    patch: tuple[int, ...]
    batch: int
    stages: int
    queries: int | None
    spacing: tuple[float, ...]
    parameters: int
    memory_gb: float
    why: str
    steps_per_hour: float | None = None
    measured_memory_gb: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class PlanReport:
    """The result of `plan`. ``refusals`` are the networks whose planner rejects the data set, with the reason."""

    data_set: str
    kind: str
    cases: int
    fingerprint: str
    suggestion: str
    reason: str
    configurations: tuple[PlannedConfiguration, ...]
    refusals: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    device: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def to_table(self) -> pd.DataFrame:
        """A row for each configuration of each network."""
        import pandas as pd

        return pd.DataFrame([asdict(one) for one in self.configurations])


def plan(
    dataset: str | int,
    *,
    networks: Sequence[str] | None = None,
    measure: bool = False,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> PlanReport:
    """Plan a raw data set for each suitable network and for nnU-Net's own; nothing is written.

    The planners run in a separate process, in a temporary folder. An existing fingerprint of the same number of cases
    is copied; otherwise it is extracted, which reads all images.

    Parameters
    ----------
    dataset
        Number or name of a data set in ``nnUNet_raw``, as in 10 or "Dataset010_Cells".
    networks
        Names of networks; by default all that support the labels of the data set.
    measure
        Measure steps per hour on this machine: a few training steps of each configuration, on noise.
    device
        What to measure on: "auto", "cpu", "cuda" or "mps".
    progress
        Called with the name of each step that begins.

    Raises
    ------
    InputError
        If the data set does not exist, or no network can be planned for it.

    Examples
    --------
    >>> report = plan(4)  # doctest: +SKIP
    >>> report.suggestion  # doctest: +SKIP
    'maskmed'
    """
    from maskmed_nnu.errors import InputError
    from maskmed_nnu.nnunet.discovery.choices import choices_for, find_choice, suggest
    from maskmed_nnu.nnunet.inference.devices import choose_device
    from maskmed_nnu.nnunet.inference.trained_model import check_hook
    from maskmed_nnu.nnunet.preflight.machine import gpu_memory_gb
    from maskmed_nnu.nnunet.trial.processes import trial_plans
    from maskmed_nnu.nnunet.trial.raw_data_set import find_raw_data_set

    check_hook()
    chosen_device = choose_device(device) if measure else None
    data = find_raw_data_set(dataset, purpose="Planning")
    choices: Sequence[Choice] = choices_for(objects=data.objects)
    if networks:
        found = (find_choice(name, objects=data.objects, data_set=data.name) for name in networks)
        choices = list(dict.fromkeys(found))
    planners = {choice.planner: choice.plans for choice in choices}
    planned, reused = trial_plans(data.name, planners, cases=len(data.cases), progress=progress)
    refusals = {
        choice.name: planned[choice.planner]["error"] for choice in choices if "error" in planned[choice.planner]
    }
    accepted = [choice for choice in choices if choice.name not in refusals]
    if not accepted:
        raise InputError(next(iter(refusals.values())))
    rows = [row for choice in accepted for row in _rows(choice, planned[choice.planner], objects=data.objects)]
    if chosen_device is not None:
        rows = _measured(rows, planned, data, chosen_device, progress)
    suggestion, reason = suggest(objects=data.objects, gpu_gb=gpu_memory_gb())
    return PlanReport(
        data_set=data.name,
        kind="objects" if data.objects else "classes",
        cases=len(data.cases),
        fingerprint="extracted for this plan" if reused is None else f"copied from {reused}",
        suggestion=suggestion.name,
        reason=reason,
        configurations=tuple(rows),
        refusals=refusals,
        notes=tuple(data.notes),
        device=chosen_device,
    )


def _rows(choice: Choice, result: dict[str, Any], *, objects: bool) -> list[PlannedConfiguration]:
    reasons = _reasons(result["printed"])
    rows = []
    for name, cost in result["costs"].items():
        configuration = result["plans"]["configurations"][name]
        arguments = configuration["architecture"]["arch_kwargs"]
        rows.append(
            PlannedConfiguration(
                network=choice.name,
                title=choice.title,
                planner=choice.planner,
                plans=choice.plans,
                trainer=choice.trainer(objects=objects),
                configuration=name,
                patch=tuple(int(edge) for edge in configuration["patch_size"]),
                batch=int(configuration["batch_size"]),
                stages=int(arguments["n_stages"]),
                queries=arguments.get("num_queries"),
                spacing=tuple(float(edge) for edge in configuration["spacing"]),
                parameters=int(cost["parameters"]),
                memory_gb=cost["memory_gb"],
                why=reasons.get(name, "" if choice.network else STOCK_REASON),
            )
        )
    return rows


def _reasons(printed: str) -> dict[str, str]:
    """The planner's words about each configuration.

    >>> _reasons("2D U-Net configuration:\\nMaskMed 2d: patch 8×8\\n  8 queries\\n\\nMirroring:\\n  none")
    {'2d': 'patch 8×8\\n  8 queries'}
    """
    found = re.finditer(r"^\S+ (2d|3d_\w+): (.*(?:\n +.*)*)", printed, re.MULTILINE)
    return {match[1]: match[2] for match in found}


def _measured(
    rows: Sequence[PlannedConfiguration],
    planned: dict[str, Any],
    data: DataSet,
    device: str,
    progress: Callable[[str], None] | None,
) -> list[PlannedConfiguration]:
    from dataclasses import replace

    from maskmed_nnu.nnunet.trial.processes import trial_steps

    jobs = [
        {"plans": planned[row.planner]["plans"], "trainer": row.trainer, "configuration": row.configuration}
        for row in rows
    ]
    results = trial_steps(jobs, dataset_json=data.description, device=device, progress=progress)
    return [
        replace(
            row,
            steps_per_hour=3600 / result["seconds"] if "seconds" in result else None,
            measured_memory_gb=result.get("memory_gb"),
            failure=result.get("error"),
        )
        for row, result in zip(rows, results, strict=True)
    ]
