"""A study: its ``config.yaml``, and where everything that its jobs read and write lies."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_optional_object, shown
from maskmed_nnu.legal_values import legal_values

CONFIG = "config.yaml"
BEST = "best/inference_information.json"
"""What nnUNetv2_find_best_configuration found, in the folder of the study."""
CASCADE, LOW_RESOLUTION, FULL_RESOLUTION = "3d_cascade_fullres", "3d_lowres", "3d_fullres"
Count = Annotated[int, Ge(1)]
Index = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
Names = Annotated[list[str], MinLen(1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Network(_Section):
    """What nnU-Net's commands take behind ``-pl``, ``-p``, ``-tr`` and ``-c``."""

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


class TrainJob(GpuJob):
    """``memory_gb``: null lets the plans tell."""

    cpus: Count = 12
    memory_gb: Positive | None = None
    hours: Positive = 24


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


class Model(NamedTuple):
    """One contestant: a network in one configuration."""

    network: str
    trainer: str
    plans: str
    configuration: str

    @property
    def name(self) -> str:
        """Of its folder in ``nnUNet_results``."""
        return f"{self.trainer}__{self.plans}__{self.configuration}"

    @property
    def data(self) -> str:
        """The configuration whose preprocessed images it is trained on."""
        return FULL_RESOLUTION if self.configuration == CASCADE else self.configuration


@dataclass(frozen=True)
class Study:
    """``folder`` is absolute: jobs find everything from there, wherever they start."""

    folder: Path
    config: Config

    @property
    def models(self) -> list[Model]:
        networks = self.config.networks.items()
        return [
            Model(name, one.trainer, one.plans, configuration)
            for name, one in networks
            for configuration in one.configurations
        ]

    def model(self, name: str) -> Model:
        return next(model for model in self.models if model.name == name)

    @property
    def planners(self) -> dict[str, str]:
        """Plans → planner."""
        return {one.plans: one.planner for one in self.config.networks.values()}

    @property
    def data_set_number(self) -> str:
        return str(int(self.config.dataset[7:10]))

    @property
    def environment(self) -> dict[str, str]:
        """nnU-Net's three folders; relative ones lie in the study."""
        folders = self.config.folders
        named = {"nnUNet_raw": folders.raw, "nnUNet_preprocessed": folders.preprocessed}
        named["nnUNet_results"] = folders.results
        return {variable: str(self.folder / Path(name).expanduser()) for variable, name in named.items()}

    @property
    def preprocessed(self) -> Path:
        return Path(self.environment["nnUNet_preprocessed"]) / self.config.dataset

    @property
    def results(self) -> Path:
        return Path(self.environment["nnUNet_results"]) / self.config.dataset

    @property
    def images(self) -> Path | None:
        return None if self.config.predict is None else self.folder / self.config.predict.images

    @property
    def truth(self) -> Path | None:
        predict = self.config.predict
        return None if predict is None or predict.truth is None else self.folder / predict.truth

    def training_folder(self, model: Model, fold: int | str) -> Path:
        return self.results / model.name / f"fold_{fold}"

    def prediction_folder(self, model: str) -> Path:
        return self.folder / "predictions" / model

    def records(self, job: str) -> Path:
        """The attempts of a job, as `maskmed_nnu.workflow.job_records` keeps them; its log lies beside."""
        return self.folder / "logs" / f"{job}.jsonl"

    def best(self) -> dict[str, Any]:
        """nnU-Net's choice; empty before it was made."""
        chosen: dict[str, Any] = read_optional_object(self.folder / BEST).get("best_model_or_ensemble", {})
        return chosen

    def chosen(self) -> list[Model]:
        """The model that predicts, or the two of the ensemble; none before the choice was made."""
        selected = self.best().get("selected_model_or_models", ())
        names = [f"{one['trainer']}__{one['plans_identifier']}__{one['configuration']}" for one in selected]
        return [self.model(name) for name in names]

    def predicting(self) -> list[Model]:
        """`chosen`, and those whose predictions a cascade starts from."""
        every = [one for model in self.chosen() for one in (self.first_stage(model), model) if one is not None]
        return list(dict.fromkeys(every))

    def first_stage(self, model: Model) -> Model | None:
        return model._replace(configuration=LOW_RESOLUTION) if model.configuration == CASCADE else None

    def final_predictions(self) -> Path:
        """Where they lie once all is done."""
        chosen = self.chosen()
        whole = self.best().get("postprocessing_file") is None and len(chosen) == 1
        return self.prediction_folder(chosen[0].name if whole else "final")


def read_study(folder: Path | str) -> Study:
    """Read and check a study's ``config.yaml``.

    Raises:
        InputError: one sentence about the first fault.
    """
    import yaml

    path = Path(folder).expanduser().absolute() / CONFIG
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InputError(
            f"{path} cannot be read ({reason}); name the folder of a study, which maskmed workflow makes."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(
            f"{path}{place} is no YAML ({getattr(error, 'problem', None) or error}); correct it."
        ) from None
    study = Study(path.parent, _checked(content, path))
    fault = next(_misfits(study.config), None)
    if fault is not None:
        raise InputError(f"{path}: {fault}.")
    return study


def _checked(content: Any, path: Path) -> Config:
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
        inside = {Config: {"networks": Network, "folders": Folders, "predict": Predict, "jobs": Jobs}}
        nested = inside.get(owner, {}).get(name)
        if owner is Jobs and field is not None:
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
    models: dict[str, str] = {}
    plans: dict[str, Mapping[str, str]] = {}
    for name, network in config.networks.items():
        for configuration in network.configurations:
            model = Model(name, network.trainer, network.plans, configuration).name
            if model in models:
                yield f"networks {models[model]} and {name} train the same model, {model}; leave one of them out"
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
