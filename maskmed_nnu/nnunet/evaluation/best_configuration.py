"""``nnUNetv2_find_best_configuration`` for objects: compared by their score, without steps that only classes have.

Averaged probabilities and the largest component of each class have no meaning for objects: ensembles and postprocessing
are left out, the information and the instructions are written all the same.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskmed_nnu.atomic_write import write_atomically
from maskmed_nnu.errors import InputError
from maskmed_nnu.json_file import read_json, write_json
from maskmed_nnu.nnunet.evaluation.plain_errors import speak_plainly
from maskmed_nnu.nnunet.evaluation.trained_models import (
    TrainedModel,
    check_folds,
    is_of_objects,
    is_ours,
    trained_models,
)
from maskmed_nnu.nnunet.training.object_summary import SUMMARY

COMMON_SCORE = "PQ"
"""Compares trainings whose best checkpoints follow different scores."""


def wrap_best_configuration(module: Any) -> None:
    """Wrap ``find_best_configuration`` in ``nnunetv2.evaluation.find_best_configuration``, and its entry points."""
    stock = module.find_best_configuration
    signature = inspect.signature(stock)
    stock_instructions = module.print_inference_instructions

    @functools.wraps(stock)
    def find_best_configuration(*args: Any, **kwargs: Any) -> dict:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        settings = given.arguments
        dataset = str(module.maybe_convert_to_dataset_name(settings["dataset_name_or_id"]))
        named = settings["allowed_trained_models"]
        models = [TrainedModel(dataset, model["trainer"], model["plans"], model["configuration"]) for model in named]
        if not any(is_ours(model) for model in models):
            return stock(*args, **kwargs)
        models = without_strangers(planned_models(models))
        for model in models:
            if is_ours(model):
                check_folds(model, settings["folds"], cross_validation=True)
        of_objects = [is_of_objects(model) for model in models]
        if not any(of_objects):
            settings["allowed_trained_models"] = [as_nnunet_does(model) for model in models]
            return stock(*given.args, **given.kwargs)
        if not all(of_objects):
            raise InputError(
                f"{models[of_objects.index(True)].name} predicts objects, {models[of_objects.index(False)].name} "
                "classes, and their scores cannot be compared; name models of one kind after -tr and -p."
            )
        return best_of_objects(module, models, settings)

    @functools.wraps(stock_instructions)
    def print_inference_instructions(inference_info_dict: dict, instructions_file: str | None = None) -> None:
        if inference_info_dict["best_model_or_ensemble"]["postprocessing_file"] is not None:
            stock_instructions(inference_info_dict, instructions_file)
            return
        text = instructions(module, inference_info_dict)
        print(f"\n{text}")
        if instructions_file is not None:
            write_atomically(Path(instructions_file), lambda partial: partial.write_text(text, encoding="utf-8"))

    module.find_best_configuration = find_best_configuration
    module.print_inference_instructions = print_inference_instructions
    speak_plainly(module, "find_best_configuration_entry_point", "accumulate_crossval_results_entry_point")


def planned_models(models: Sequence[TrainedModel]) -> list[TrainedModel]:
    """Those whose configuration the plans have; nnU-Net names four by default.

    Raises:
        InputError: where there is none, or no plans.
    """
    from nnunetv2.paths import nnUNet_preprocessed

    planned, configurations = [], {}
    for model in models:
        if model.plans not in configurations:
            file = Path(nnUNet_preprocessed) / model.dataset / f"{model.plans}.json"
            if not file.is_file():
                trained = ", ".join(dict.fromkeys(other.plans for other in trained_models(model.dataset)))
                raise InputError(
                    f"There are no plans {file}; name those of a training after -p ({trained or 'there is none'})."
                )
            plans = read_json(file, expected="nnU-Net's plans")
            configurations[model.plans] = list(plans["configurations"])
        if model.configuration in configurations[model.plans]:
            planned.append(model)
    if not planned:
        wanted = ", ".join(dict.fromkeys(model.configuration for model in models))
        there = "; ".join(f"{plans} have {', '.join(names)}" for plans, names in configurations.items())
        raise InputError(f"No plans have a configuration {wanted}: {there}; name one of these after -c.")
    return planned


def without_strangers(models: Sequence[TrainedModel]) -> list[TrainedModel]:
    """Without pairs of a trainer and plans that do not belong together, where each of them has a training.

    nnU-Net pairs each trainer after -tr with all plans after -p.
    """
    trained = [model for model in models if model.folder.is_dir()]
    pairs = {(model.trainer, model.plans) for model in trained}
    trainers, plans = {model.trainer for model in trained}, {model.plans for model in trained}
    return [
        model
        for model in models
        if (model.trainer, model.plans) in pairs or not (model.trainer in trainers and model.plans in plans)
    ]


def as_nnunet_does(model: TrainedModel) -> dict[str, str]:
    return {"plans": model.plans, "configuration": model.configuration, "trainer": model.trainer}


def best_of_objects(module: Any, models: Sequence[TrainedModel], given: dict[str, Any]) -> dict:
    """What nnU-Net's function returns, prints and writes, for models of objects."""
    folds, score = given["folds"], score_of(models)
    results: dict[str, float | None] = {}
    for model in models:
        merged = model.folder / f"crossval_results_folds_{module.folds_tuple_to_string(folds)}"
        module.accumulate_cv_results(
            str(model.folder), str(merged), folds, given["num_processes"], overwrite=given["overwrite"]
        )
        scores = module.load_summary_json(str(merged / SUMMARY))["foreground_mean"]
        results[model.name] = scores.get(score)
    best = max(models, key=lambda model: results[model.name] or 0.0)
    print(f"\n***All results ({score} of objects):***")
    for name, result in results.items():
        print(f"{name}: {result}")
    print(f"\n*Best*: {best.name}: {results[best.name]}\n")
    if len({model.configuration == "2d" for model in models}) > 1:
        print(
            "These scores are of two kinds: a 2d model's objects are counted slice by slice, those of other "
            "configurations in volumes. For objects in volumes take a configuration other than 2d; "
            "maskmed evaluate --slices evaluates both slice by slice."
        )
    if given["allow_ensembling"] and len(models) > 1:
        print("Ensembles are skipped: objects have no probabilities that could be averaged.")
    print("Postprocessing is skipped: it keeps the largest component of a class, which would be a single object.")

    information = {
        "folds": folds,
        "dataset_name_or_id": given["dataset_name_or_id"],
        "considered_models": [as_nnunet_does(model) for model in models],
        "ensembling_allowed": False,
        "metric": score,
        "all_results": results,
        "best_model_or_ensemble": {
            "result_on_crossval_pre_pp": results[best.name],
            "result_on_crossval_post_pp": results[best.name],
            "postprocessing_file": None,
            "some_plans_file": str(best.folder / "plans.json"),
            "selected_model_or_models": [
                {"configuration": best.configuration, "trainer": best.trainer, "plans_identifier": best.plans}
            ],
        },
    }
    folder = best.folder.parent
    write_json(folder / "inference_information.json", information, indent=4)
    module.print_inference_instructions(information, instructions_file=str(folder / "inference_instructions.txt"))
    return information


def score_of(models: Sequence[TrainedModel]) -> str:
    """The score that the models' best checkpoints follow, where it is one."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    trainers: list[Any] = [recursive_find_trainer_class_by_name(model.trainer) for model in models]
    tracked = {trainer.tracked_metric for trainer in trainers}
    return tracked.pop() if len(tracked) == 1 else COMMON_SCORE


def instructions(module: Any, information: dict) -> str:
    """How to predict with the best model of objects."""
    (model,) = information["best_model_or_ensemble"]["selected_model_or_models"]
    command = module.generate_inference_command(
        information["dataset_name_or_id"],
        model["configuration"],
        model["plans_identifier"],
        model["trainer"],
        information["folds"],
    )
    return (
        f"***Run inference like this:***\n\n{command}\n\n"
        "OUTPUT_FOLDER then contains the objects; there is no further step.\n"
    )
