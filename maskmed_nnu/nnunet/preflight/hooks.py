"""Where the checks are called from: nnU-Net's entry points, after they have parsed their options.

nnU-Net's own parser stays the only one: what it returns is looked at before nnU-Net gets it. A command whose planner,
plans and trainer are all nnU-Net's own goes on at once.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from maskmed_nnu.cpus import thread_count
from maskmed_nnu.errors import InputError
from maskmed_nnu.machine_errors import AGAIN
from maskmed_nnu.nnunet.discovery.names import NAMES
from maskmed_nnu.nnunet.discovery.training_length import split_length
from maskmed_nnu.nnunet.preflight.folders import data_set_faults, environment_faults, find_data_set
from maskmed_nnu.nnunet.preflight.huge_pages import ask_for_huge_pages
from maskmed_nnu.nnunet.running import machine_errors_told, ranks_follow, running_ours
from maskmed_nnu.nnunet.training.job import describe_job

OURS = "maskmed_nnu"
"""Stands in each plans file of ours."""


def wrap_planning(module: Any) -> None:
    """Wrap the commands in ``nnunetv2.experiment_planning.plan_and_preprocess_entrypoints``."""

    def wrap(name: str, parse: str, before: Callable[[Any], Any]) -> None:
        stock = getattr(module, name)

        @functools.wraps(stock)
        def entry_point() -> None:
            asked: list[tuple[Any, Any]] = []

            def check(options: Any) -> bool:
                asked.append((before(options), options))
                return asked[-1][0] is True or hasattr(asked[-1][0], "check_data_set")

            try:
                with _after_parsing(parse, check):
                    stock()
            except (AssertionError, IndexError, ValueError) as error:
                for planner, options in asked:
                    explain: Any = getattr(planner, "explain_failure", None)
                    for data_set in options.d if explain is not None and not isinstance(error, InputError) else ():
                        explain(data_set)
                raise

        setattr(module, name, entry_point)

    wrap("plan_and_preprocess_entry", "parse_args", _before_planning)
    wrap("plan_experiment_entry", "parse_known_args", _before_planning)
    wrap("extract_fingerprint_entry", "parse_known_args", _before_fingerprint)
    wrap("preprocess_entry", "parse_known_args", _before_preprocessing)


def wrap_training(module: Any) -> None:
    """Wrap ``nnunetv2.run.run_training``; `trainer_choice` wraps its choice of the trainer."""
    from maskmed_nnu.nnunet.discovery import trainer_choice

    ask_for_huge_pages()
    trainer_choice.wrap_training(module)
    stock = module.run_training
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def run_training(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        options = given.arguments
        names = [str(options[key]) for key in ("dataset_name_or_id", "plans_identifier", "trainer_class_name")]
        if not _look(_trains_ours, *names):
            return stock(*args, **kwargs)
        with running_ours(again=f"{AGAIN} with --c"), ranks_follow() if options["num_gpus"] > 1 else nullcontext():
            if options["device"].type == "cpu":
                import torch

                torch.set_num_threads(min(torch.get_num_threads(), thread_count()))
            print(describe_job(options["device"].type))
            _check_training(options)
            return stock(*args, **kwargs)

    module.run_training = run_training
    stock_rank = module.run_ddp
    rank_signature = inspect.signature(stock_rank)

    @functools.wraps(stock_rank)
    def run_ddp(*args: Any, **kwargs: Any) -> Any:
        """In a process of its own."""
        given = rank_signature.bind(*args, **kwargs).arguments
        ours = _look(_trains_ours, str(given["dataset_name_or_id"]), given["p"], given["tr"])
        with running_ours(again=f"{AGAIN} with --c") if ours else nullcontext():
            return stock_rank(*args, **kwargs)

    module.run_ddp = run_ddp


def wrap_prediction(module: Any) -> None:
    """Wrap the commands in ``nnunetv2.inference.predict_from_raw_data``, and its predictor."""
    from maskmed_nnu.nnunet.inference.predictor import wrap_predictor

    ask_for_huge_pages()
    wrap_predictor(module)
    for name in ("predict_entry_point", "predict_entry_point_modelfolder"):
        setattr(module, name, _checked_prediction(getattr(module, name)))


def _checked_prediction(stock: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(stock)
    def entry_point() -> None:
        with _after_parsing("parse_args", _before_prediction, again=f"{AGAIN} with --continue_prediction"):
            stock()

    return entry_point


@contextmanager
def _after_parsing(parse: str, check: Callable[[Any], bool], *, again: str = AGAIN) -> Iterator[None]:
    """The first parser that is called to ``parse`` shows its result to ``check`` before it returns it.

    Where that says that the command is about something of ours, the rest is `running_ours`.
    """
    original = getattr(argparse.ArgumentParser, parse)

    with ExitStack() as ours:

        def parse_and_check(self: Any, *args: Any, **kwargs: Any) -> Any:
            setattr(argparse.ArgumentParser, parse, original)
            result = original(self, *args, **kwargs)
            options = result[0] if isinstance(result, tuple) else result
            if _look(check, options):
                ours.enter_context(running_ours(again=again))
                if getattr(options, "device", None) == "cpu":
                    ours.enter_context(_fewer_threads())
            return result

        setattr(argparse.ArgumentParser, parse, parse_and_check)
        try:
            yield
        finally:
            setattr(argparse.ArgumentParser, parse, original)


@contextmanager
def _fewer_threads() -> Iterator[None]:
    """nnU-Net's commands start as many threads as the machine has CPUs, also in a job that may use one of them."""
    stock = multiprocessing.cpu_count
    multiprocessing.cpu_count = thread_count
    try:
        yield
    finally:
        multiprocessing.cpu_count = stock


def _look(check: Callable[..., bool], *at: Any) -> bool:
    with machine_errors_told():
        return check(*at)


def _before_planning(options: Any) -> Any:
    """The planner's class; an unknown one is refused here, for nnU-Net looks it up after hours of fingerprinting.

    Planners of ours, and those that users derive from them, have a ``check_data_set`` for what is in the files.

    Raises:
        InputError
    """
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
    if options.pl == "ExperimentPlanner":
        return None
    planner = recursive_find_python_class(folder, options.pl, current_module="nnunetv2.experiment_planning")
    check: Any = getattr(planner, "check_data_set", None)
    if check is None:
        return planner
    from maskmed_nnu.nnunet.preflight.faults import report
    from maskmed_nnu.nnunet.preflight.planning import CONFIGURATIONS, fingerprint_faults, planning_faults

    preprocesses = hasattr(options, "c")
    faults = planning_faults(
        options.d or [],
        planner=options.pl,
        planned=getattr(planner, "planned_configurations", CONFIGURATIONS),
        configurations=options.c if preprocesses and not options.no_pp else (),
        verify=getattr(options, "verify_dataset_integrity", False),
    )
    if not preprocesses:
        faults += fingerprint_faults(options.d or [])
    report(faults, command="The planning")
    for data_set in options.d or []:
        check(data_set)
    return planner


def _before_fingerprint(options: Any) -> bool:
    """Whether data sets are ours. No planner is named here: those of objects are."""
    from maskmed_nnu.nnunet.preflight.faults import report
    from maskmed_nnu.nnunet.preflight.planning import planning_faults

    ours = [number for number in options.d or () if _mentions("nnUNet_raw", str(number), "dataset.json", "InstanceIO")]
    if ours:
        faults = planning_faults(ours, planner="", verify=options.verify_dataset_integrity)
        report(faults, command="The fingerprint extraction")
    return bool(ours)


def _before_preprocessing(options: Any) -> bool:
    """Whether plans are ours."""
    from maskmed_nnu.nnunet.preflight.faults import report
    from maskmed_nnu.nnunet.preflight.planning import preprocessing_faults

    file = f"{options.plans_name}.json"
    ours = [number for number in options.d or () if _mentions("nnUNet_preprocessed", str(number), file, OURS)]
    if ours:
        report(preprocessing_faults(ours, plans=options.plans_name, configurations=options.c), command="Preprocessing")
    return bool(ours)


def _check_training(given: dict[str, Any]) -> None:
    from maskmed_nnu.nnunet.preflight.faults import report
    from maskmed_nnu.nnunet.preflight.training import Training, training_faults

    training = Training(
        str(given["dataset_name_or_id"]),
        given["configuration"],
        str(given["fold"]),
        given["trainer_class_name"],
        given["plans_identifier"],
        device=given["device"].type,
        gpus=given["num_gpus"],
        pretrained_weights=given["pretrained_weights"],
        continues=given["continue_training"],
        validates_only=given["only_run_validation"],
        keeps_checkpoints=not given["disable_checkpointing"],
    )
    report(training_faults(training), command="The training")


def _trains_ours(data_set: str, plans: str, trainer: str) -> bool:
    """Whether trainer or plans are ours."""
    return _is_ours(trainer) or _mentions("nnUNet_preprocessed", data_set, f"{plans}.json", OURS)


def _before_prediction(options: Any) -> bool:
    """Of ``nnUNetv2_predict`` and, with ``-m``, of ``nnUNetv2_predict_from_modelfolder``: whether the model is ours."""
    given = hasattr(options, "m")
    name = None if given else find_data_set(options.d, inside="nnUNet_results")
    model = Path(os.path.abspath(options.m)) if given else None
    if name is not None:
        model = Path(os.environ["nnUNet_results"]) / name / f"{options.tr}__{options.p}__{options.c}"
    trainer = model.name.partition("__")[0] if model is not None else options.tr
    if not (_is_ours(trainer) or (model is not None and _contains(model / "plans.json", OURS))):
        return False
    from maskmed_nnu.nnunet.preflight.faults import report
    from maskmed_nnu.nnunet.preflight.prediction import Prediction, part_faults, prediction_faults
    from maskmed_nnu.output_paths import refuse_data_set_folder, refuse_output_over_input

    refuse_data_set_folder(options.o)  # before nnU-Net makes the folder
    refuse_output_over_input([options.o], [options.i])
    prediction = Prediction(
        model,
        options.i,
        options.o,
        options.f,
        options.chk,
        device=options.device,
        previous_stage=options.prev_stage_predictions,
        probabilities=options.save_probabilities,
        given=given,
    )
    faults = prediction_faults(prediction)
    if not given:
        faults += part_faults(options.part_id, options.num_parts, processes=options.npp + options.nps)
        faults += environment_faults(reads="nnUNet_results")
        faults += data_set_faults(options.d, inside="nnUNet_results", option="-d")
    report(faults, command="The prediction")
    return True


def _is_ours(trainer: str) -> bool:
    return split_length(trainer)[0] in NAMES["trainer"]


def _mentions(variable: str, data_set: str, file: str, word: str) -> bool:
    name = find_data_set(data_set, inside=variable)
    return name is not None and _contains(Path(os.environ[variable]) / name / file, word)


def _contains(path: Path, word: str) -> bool:
    return path.is_file() and word.encode() in path.read_bytes()
