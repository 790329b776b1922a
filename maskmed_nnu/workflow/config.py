"""What a study's ``config.yaml`` may say, and one sentence for what it may not."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import shown
from maskmed_nnu.legal_values import legal_values

CASCADE, LOW_RESOLUTION = "3d_cascade_fullres", "3d_lowres"
Count = Annotated[int, Ge(1)]
Index = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
Names = Annotated[list[str], MinLen(1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Network(_Section):
    """What nnU-Net's commands take after ``-pl``, ``-p``, ``-tr`` and ``-c``."""

    planner: str
    plans: str
    trainer: str
    configurations: Names


class Folders(_Section):
    raw: str
    preprocessed: str
    results: str


class Predict(_Section):
    """``truth``: the true label maps of ``images``, where they are known."""

    images: str
    truth: str | None = None
    parts: Count = 1


class Job(_Section):
    """What a job asks for; ``hours`` is the longest that it may take."""

    cpus: Count = 8
    memory_gb: Positive = 16
    hours: Positive = 4


class GpuJob(Job):
    gpus: Count = 1


class TrainJob(_Section):
    """As `GpuJob`; ``memory_gb``: null lets the plans tell."""

    cpus: Count = 12
    memory_gb: Positive | None = None
    hours: Positive = 24
    gpus: Count = 1


class Jobs(_Section):
    prepare: Job = Job()
    preprocess: Job = Job(memory_gb=32, hours=12)
    train: TrainJob = TrainJob()
    predict: GpuJob = GpuJob()
    evaluate: Job = Job()


class Config(_Section):
    """The content of ``config.yaml``, whose comments say what each entry means."""

    dataset: str
    networks: dict[str, Network]
    folds: Annotated[list[Index], MinLen(1)]
    folders: Folders
    device: Literal["cuda", "cpu", "mps"] = "cuda"
    ensemble: bool = True
    convert: Names | None = None
    predict: Predict | None = None
    jobs: Jobs = Jobs()
    most_memory_gb: Positive = 512
    gpu_models: dict[str, float] = {}
    scratch: str | None = None


INSIDE: dict[str, type[_Section]] = {"networks": Network, "folders": Folders, "predict": Predict, "jobs": Jobs}
"""Entries of a config that are sections; of networks each."""


def check_config(content: Any, path: Path) -> Config:
    """The content of the file ``path``.

    Raises:
        InputError: one sentence about the first fault.
    """
    config = _typed(content, path)
    fault = next(_misfits(config), None)
    if fault is not None:
        raise InputError(f"{path}: {fault}.")
    return config


def _typed(content: Any, path: Path) -> Config:
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        # a misspelt name is unknown, and the right one may be missing for it: the first says more
        first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    names = [str(part) for part in first["loc"]]
    place, value = ".".join(names), first["input"]
    owner, name = _owner(names)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, owner.model_fields, n=1)
        guess = f"did you mean {near[0]}? Legal" if near else "legal"
        raise InputError(f"{path}: there is no entry {place}; {guess} are {', '.join(owner.model_fields)}.")
    field = owner.model_fields.get(name)
    legal = legal_values(field) if field is not None else f"entries {', '.join(owner.model_fields)}"
    if first["type"] == "missing":
        raise InputError(f"{path}: the entry {place} is missing; it must be {legal}.")
    raise InputError(f"{path}: {place or 'the file'} is {shown(value)}, but it must be {legal}.")


def _owner(names: list[str]) -> tuple[type[_Section], str]:
    """The section that an error is about, and the entry of it; not of an entry of a list."""
    owner: type[_Section] = Config
    rest = list(names)
    while rest:
        name = rest.pop(0)
        field = owner.model_fields.get(name)
        nested: type[_Section] | None = None
        if owner is Config:
            nested = INSIDE.get(name)
        elif owner is Jobs and field is not None:
            nested = type(field.default)
        if nested is None or not rest:
            return owner, name
        owner = nested
        if name == "networks":
            rest.pop(0)  # the network's own name
    return owner, ""


def _misfits(config: Config) -> Iterator[str]:
    """What no type tells."""
    if not config.networks:
        yield "networks is empty; name one network or more"
    if not (config.dataset.startswith("Dataset") and config.dataset[7:10].isdigit() and config.dataset[10:11] == "_"):
        yield f"dataset is {shown(config.dataset)}, but it must be a whole name, as in Dataset004_Hippocampus"
    models: dict[tuple[str, str, str], str] = {}
    plans: dict[str, Mapping[str, str]] = {}
    for name, network in config.networks.items():
        for configuration in network.configurations:
            model = (network.trainer, network.plans, configuration)
            if model in models:
                same = "__".join(model)
                yield f"networks {models[model]} and {name} train the same model, {same}; leave one of them out"
            models[model] = name
        if CASCADE in network.configurations and LOW_RESOLUTION not in network.configurations:
            yield f"network {name} has {CASCADE}, which starts from {LOW_RESOLUTION}; add that to its configurations"
        other = plans.setdefault(network.plans, {"planner": network.planner, "name": name})
        if other["planner"] != network.planner:
            yield f"networks {other['name']} and {name} write the same plans, {network.plans}, by two planners"
    if len(set(config.folds)) < len(config.folds):
        yield f"folds is {shown(config.folds)}, which names one twice"
    for name, gigabytes in config.gpu_models.items():
        if gigabytes <= 0:
            yield f"gpu_models.{name} is {gigabytes}, but it must be its memory in GB, above 0"
