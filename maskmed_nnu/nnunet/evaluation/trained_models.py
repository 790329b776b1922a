"""The trainings that a command names: whether they are ours, and whether they have what the command needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.discovery.training_length import split_length
from maskmed_nnu.nnunet.plans_handling.label_manager import has_instances
from maskmed_nnu.nnunet.training.object_summary import SCORES, SUMMARY


class TrainedModel(NamedTuple):
    """A folder below ``nnUNet_results``: trainer, plans and configuration of a data set."""

    dataset: str
    trainer: str
    plans: str
    configuration: str

    @property
    def name(self) -> str:
        return f"{self.trainer}__{self.plans}__{self.configuration}"

    @property
    def folder(self) -> Path:
        from nnunetv2.paths import nnUNet_results

        return Path(nnUNet_results) / self.dataset / self.name

    @property
    def folds(self) -> list[str]:
        """Those that are there, trained to the end or not."""
        return sorted(path.name[len("fold_") :] for path in self.folder.glob("fold_*") if path.is_dir())

    def training_command(self, fold: str) -> str:
        return f"nnUNetv2_train {self.dataset} {self.configuration} {fold} -tr {self.trainer} -p {self.plans}"


def is_our_trainer(name: str) -> bool:
    return split_length(name)[0] in NAMES["trainer"]


def are_our_plans(name: str) -> bool:
    """Whether one of our planners calls its plans so."""
    return name in {f"{planner.replace('Planner', '')}Plans" for planner in NAMES["planner"]}


def plans_are_ours(plans: Mapping[str, Any]) -> bool:
    """Whether a configuration of the plans has one of our networks."""
    configurations = plans.get("configurations", {}).values()
    networks = [configuration.get("architecture", {}).get("network_class_name", "") for configuration in configurations]
    return any(str(network).startswith("maskmed_nnu.") for network in networks)


def plans_of(model: TrainedModel) -> dict[str, Any]:
    """The plans of a training, or those it would be made with; nothing where there are neither."""
    from nnunetv2.paths import nnUNet_preprocessed

    files = [model.folder / "plans.json"]
    if nnUNet_preprocessed.is_set():
        files.append(Path(nnUNet_preprocessed) / model.dataset / f"{model.plans}.json")
    for file in files:
        if file.is_file():
            plans: dict[str, Any] = read_json(file, expected="nnU-Net's plans")
            return plans
    return {}


def is_ours(model: TrainedModel) -> bool:
    """By the names of trainer and plans, or by the plans themselves."""
    return is_our_trainer(model.trainer) or are_our_plans(model.plans) or plans_are_ours(plans_of(model))


def is_of_objects(model: TrainedModel) -> bool:
    return has_instances(plans_of(model))


def trained_models(dataset: str) -> list[TrainedModel]:
    """All of a data set."""
    from nnunetv2.paths import nnUNet_results

    names = sorted(path.parent.name for path in (Path(nnUNet_results) / dataset).glob("*/plans.json"))
    return [TrainedModel(dataset, *name.split("__")) for name in names if name.count("__") == 2]


def check_trained(model: TrainedModel) -> None:
    """Refuse a model that is not there, with the names of those that are.

    Raises:
        InputError
    """
    if model.folder.is_dir():
        return
    others = [
        f"-tr {other.trainer} -p {other.plans} -c {other.configuration} -f {' '.join(other.folds)}"
        for other in trained_models(model.dataset)
    ]
    there = f"trained are: {'; '.join(others)}" if others else "this data set has no trained model"
    raise InputError(f"{model.dataset} has no model {model.name} in {model.folder.parent}; {there}.")


def check_folds(
    model: TrainedModel,
    folds: Iterable[str | int],
    *,
    checkpoints: Sequence[str] = (),
    cross_validation: bool = False,
) -> None:
    """Refuse folds that are not trained and validated, or lack one of `checkpoints`.

    `cross_validation`: fold all, which is validated on its training cases, is no choice.

    Raises:
        InputError: with what to do about it.
    """
    check_trained(model)
    wanted = [str(fold) for fold in folds]
    there = model.folds
    missing = [fold for fold in wanted if fold not in there]
    if missing:
        offered = [fold for fold in there if not (cross_validation and fold == "all")]
        name = f"name the trained ones, -f {' '.join(offered)}, or " if offered else ""
        trained = "Folds {} of {} are not" if len(missing) > 1 else "Fold {} of {} is not"
        seen = "; fold all is, but it was validated on its training cases" if len(offered) < len(there) else ""
        raise InputError(
            f"{trained.format(', '.join(missing), model.name)} trained{seen}; {name}train: "
            f"{model.training_command(missing[0])}."
        )
    for fold in wanted:
        folder = model.folder / f"fold_{fold}"
        for checkpoint in checkpoints:
            if not (folder / checkpoint).is_file():
                others = ", ".join(sorted(path.name for path in folder.glob("*.pth"))) or "none"
                raise InputError(
                    f"{folder} has no {checkpoint} (it has {others}); finish the training with "
                    f"{model.training_command(fold)} --c."
                )
        if not any((folder / "validation" / name).is_file() for name in (SUMMARY, SCORES)):
            raise InputError(
                f"{folder} has no scores of a final validation; write them with {model.training_command(fold)} --val."
            )
