"""A new study: a folder with ``config.yaml``, a ``Snakefile`` that includes the rules, and profiles of Snakemake."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.workflow.config import Jobs
from maskmed_nnu.workflow.study import CONFIG, Study, read_study

TEMPLATE = Path(__file__).parent / "template"
PROFILES = ("local", "slurm")
EXTRA = "maskmed-nnu[cluster]"


@dataclass(frozen=True)
class NewStudy:
    """``notes`` are sentences on what is to be looked at."""

    study: Study
    reason: str
    notes: tuple[str, ...]

    def command(self, profile: str) -> str:
        """What runs it."""
        folder = self.study.folder
        return f"cd {shlex.quote(str(folder))} && snakemake --profile profiles/{profile}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "study": str(self.study.folder),
            "data_set": self.study.config.dataset,
            "models": [model.name for model in self.study.models],
            "folds": self.study.config.folds,
            "reason": self.reason,
            "commands": {profile: self.command(profile) for profile in PROFILES},
            "notes": list(self.notes),
        }


def write_study(
    folder: Path | str,
    dataset: str | int,
    *,
    networks: Sequence[str] = (),
    configurations: Sequence[str] = (),
    folds: Sequence[int] = (),
    epochs: int | None = None,
    images: Path | str | None = None,
    truth: Path | str | None = None,
    parts: int = 1,
    device: str = "auto",
) -> NewStudy:
    """Write a study that is ready to run; its ``config.yaml`` may be edited at any time.

    ``networks`` are short names as in `maskmed_nnu.train`, by default the one that the data set suggests;
    ``configurations`` are those of each of them, by default 2d for flat images and networks, else 3d_fullres; ``folds``
    by default all. ``images`` are predicted in so many ``parts`` by what is best, and evaluated with their ``truth``.

    Raises:
        InputError: for what there is not, or a folder that holds something already.
    """
    from maskmed_nnu.nnunet.discovery.choices import find_choice, suggest
    from maskmed_nnu.nnunet.inference.devices import choose_device
    from maskmed_nnu.nnunet.preflight.machine import gpu_memory_gb
    from maskmed_nnu.nnunet.trial.raw_data_set import find_raw_data_set

    target = Path(folder).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists and is not empty; name a new folder for the study.")
    for path, what in ((images, "images"), (truth, "true label maps")):
        if path is not None and not Path(path).expanduser().is_dir():
            raise InputError(f"There is no folder {path} of {what}; name an existing one.")
    if truth is not None and images is None:
        raise InputError("True label maps are given without the images to predict; give these, too.")
    data = find_raw_data_set(dataset, purpose="The study")
    reason = "named by the user"
    if networks:
        choices = [find_choice(name, objects=data.objects, data_set=data.name) for name in networks]
    else:
        choice, reason = suggest(objects=data.objects, gpu_gb=gpu_memory_gb())
        choices = [choice]
    available = number_of_folds(target, data)
    unknown = [fold for fold in folds if not 0 <= fold < available]
    if unknown or not available:
        what = f"no fold {unknown[0]}" if unknown else "fewer cases than nnU-Net's five folds need"
        raise InputError(f"{data.name} has {what}; its folds are {', '.join(map(str, range(available))) or 'none'}.")
    flat = data.is_flat()
    contestants = [
        {
            "name": one.name,
            "planner": one.planner,
            "plans": one.plans,
            "trainer": one.trainer(objects=data.objects, epochs=epochs),
            "configurations": ["2d"] if one.flat_only else [*configurations] or ["2d" if flat else "3d_fullres"],
        }
        for one in dict.fromkeys(choices)
    ]
    chosen_device = choose_device(device)
    values = {
        "dataset": data.name,
        "networks": contestants,
        "folds": [*folds] or list(range(available)),
        "ensemble": not data.objects,
        "device": chosen_device,
        "predict": images and {"images": _absolute(images), "truth": truth and _absolute(truth), "parts": parts},
        "jobs": Jobs().model_dump(),
        "gpus": _gpus() if chosen_device == "cuda" else 0,
        "raw": _absolute(os.environ["nnUNet_raw"]),
        **{name.lower(): _place(f"nnUNet_{name}") for name in ("preprocessed", "results")},
    }
    _write(target, values)
    return NewStudy(read_study(target), reason, tuple(data.notes))


def number_of_folds(target: Path, data: Any) -> int:
    """Those of splits that are there, or nnU-Net's five; none where there are too few cases for them."""
    from maskmed_nnu.json_file import read_json
    from maskmed_nnu.nnunet.preflight.splits import FOLDS, SPLITS

    file = target / _place("nnUNet_preprocessed") / data.name / SPLITS
    if file.is_file():
        return len(read_json(file, expected="nnU-Net's list of folds"))
    return FOLDS if len(data.cases) >= FOLDS else 0


def _place(variable: str) -> str:
    """The folder of nnU-Net that is set, or else one in the study."""
    value = os.environ.get(variable)
    return _absolute(value) if value else variable


def _absolute(path: Path | str) -> str:
    return str(Path(path).expanduser().absolute())


def _gpus() -> int:
    import torch

    return max(torch.cuda.device_count(), 1)


def _write(target: Path, values: dict[str, Any]) -> None:
    """``config.yaml`` last: the folder is a study then."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    files = ["Snakefile", *(f"profiles/{profile}/config.yaml" for profile in PROFILES), CONFIG]
    for name in files:
        text = re.sub(r"[ \t]+$", "", environment.get_template(name).render(values), flags=re.MULTILINE)
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, functools.partial(Path.write_text, data=text, encoding="utf-8"))
