"""``python -m maskmed_nnu.workflow.measure STUDY PLANS FILE``: what the trainings of plans need, for the scheduler.

The planner's estimate of memory, and the seconds of a training step: some steps on noise, on the kind of node that will
train.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.workflow.study import Study, read_study


def measure(study: Study, plans_name: str) -> dict[str, dict[str, Any]]:
    """Configuration → ``memory_gb`` (of a GPU), ``seconds`` of a step, ``patch``, ``batch`` and ``channels``.

    ``seconds`` is None where no step could be made, and ``error`` says why.

    Raises:
        InputError: for plans that are not there, or lack a configuration of the study.
    """
    from maskmed_nnu.nnunet.plans_handling.configuration import resolve_configuration
    from maskmed_nnu.nnunet.preflight.plan_needs import plan_needs
    from maskmed_nnu.nnunet.trial.processes import trial_steps

    plans = read_json(study.preprocessed / f"{plans_name}.json", expected="nnU-Net's plans")
    description = read_json(study.preprocessed / "dataset.json", expected="a dataset.json")
    models = [model for model in study.models if model.plans == plans_name]
    configurations = {model.configuration: resolve_configuration(plans, model.configuration) for model in models}
    memory = plan_needs(plans).memory
    jobs = [{"plans": plans, "trainer": one.trainer, "configuration": one.configuration} for one in models]
    steps = trial_steps(jobs, dataset_json=description, device=study.config.device, progress=print)
    channels = len(description.get("channel_names") or description.get("modality") or "1")
    needs: dict[str, dict[str, Any]] = {}
    for model, step in zip(models, steps, strict=True):
        configuration = configurations[model.configuration]
        planned, measured = memory.get(model.configuration), step.get("memory_gb")
        known = [one for one in (planned and planned / 1e9, measured) if one]
        needs[model.configuration] = {
            "memory_gb": max(known, default=None),
            "seconds": step.get("seconds"),
            "error": step.get("error"),
            "patch": configuration["patch_size"],
            "batch": configuration["batch_size"],
            "channels": channels,
        }
    return needs


def main(folder: str, plans_name: str, file: str) -> int:
    try:
        study = read_study(folder)
        needs = measure(study, plans_name)
    except InputError as error:
        print(f"maskmed: {error}", file=sys.stderr)
        return 1
    for name, need in needs.items():
        print(f"{plans_name} {name}: {need}")
    target = Path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, needs, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
