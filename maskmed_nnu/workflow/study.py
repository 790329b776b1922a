"""A study: its ``config.yaml``, and where everything that its jobs read and write lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_optional_object
from maskmed_nnu.workflow.config import CASCADE, LOW_RESOLUTION, Config, check_config

CONFIG = "config.yaml"
BEST = "best/inference_information.json"
"""What nnUNetv2_find_best_configuration found, in the folder of the study."""
FULL_RESOLUTION = "3d_fullres"


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
        """The attempts of a job, as `maskmed_nnu.workflow.job_records` keeps them; its log is in the same folder."""
        return self.folder / "logs" / f"{job}.jsonl"

    def best(self) -> dict[str, Any]:
        """nnU-Net's choice; empty before it was made."""
        chosen: dict[str, Any] = read_optional_object(self.folder / BEST).get("best_model_or_ensemble", {})
        return chosen

    def chosen(self) -> list[Model]:
        """The model that predicts, or the two of the ensemble; none before the choice was made.

        Raises:
            InputError: where the config does not have it any more.
        """
        selected = self.best().get("selected_model_or_models", ())
        names = [f"{one['trainer']}__{one['plans_identifier']}__{one['configuration']}" for one in selected]
        for name in names:
            if name not in {model.name for model in self.models}:
                raise InputError(
                    f"{self.folder / BEST} names {name}, which is not a network of {CONFIG} any more; delete that "
                    "file, and the choice is made again."
                )
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
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(
            f"{path} cannot be read ({reason}); name the folder of a study, which maskmed workflow makes."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(
            f"{path}{place} is not valid YAML ({getattr(error, 'problem', None) or error}); correct it."
        ) from None
    return Study(path.parent, check_config(content, path))
