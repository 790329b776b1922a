"""nnU-Net's commands, and the processes that they start, end with one sentence, without a traceback.

It is that of an `InputError`, or says which signal ended the command. Whoever calls a function from Python gets the
exception.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from maskmed_nnu.errors import InputError
from maskmed_nnu.signals import Interrupted, name_of

ENTRY_POINTS = {
    "nnunetv2.ensembling.ensemble": ("entry_point_ensemble_folders",),
    "nnunetv2.evaluation.evaluate_predictions": ("evaluate_folder_entry_point", "evaluate_simple_entry_point"),
    "nnunetv2.evaluation.find_best_configuration": (
        "accumulate_crossval_results_entry_point",
        "find_best_configuration_entry_point",
    ),
    "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints": (
        "extract_fingerprint_entry",
        "plan_and_preprocess_entry",
        "plan_experiment_entry",
        "preprocess_entry",
    ),
    "nnunetv2.experiment_planning.plans_for_pretraining.move_plans_between_datasets": (
        "entry_point_move_plans_between_datasets",
    ),
    "nnunetv2.inference.data_iterators": ("preprocess_fromfiles_save_to_queue",),
    "nnunetv2.inference.predict_from_raw_data": ("predict_entry_point", "predict_entry_point_modelfolder"),
    "nnunetv2.model_sharing.entry_points": (
        "download_by_url",
        "export_pretrained_model_entry",
        "install_from_zip_entry_point",
    ),
    "nnunetv2.postprocessing.remove_connected_components": (
        "entry_point_apply_postprocessing",
        "entry_point_determine_postprocessing_folder",
    ),
    "nnunetv2.run.run_training": ("run_ddp", "run_training_entry"),
    "nnunetv2.utilities.overlay_plots": ("entry_point_generate_overlay",),
}
"""Of the modules in `_startup.ON_IMPORT`, what a console script or a new process runs."""


def wrap_entry_points(module: ModuleType) -> None:
    """Wrap those of ``module``, after everything else in it was wrapped."""
    for name in ENTRY_POINTS.get(module.__name__, ()):
        setattr(module, name, _ending_with_a_sentence(getattr(module, name)))


def _ending_with_a_sentence(stock: Any) -> Any:
    @functools.wraps(stock)
    def entry_point(*args: Any, **kwargs: Any) -> Any:
        try:
            return stock(*args, **kwargs)
        except InputError as error:
            raise SystemExit(str(error)) from error
        except Interrupted as end:
            if end.sentence is not None and multiprocessing.parent_process() is None:
                print(end.sentence or _stopped(name_of(end.number), stock.__name__), file=sys.stderr)
            raise

    return entry_point


def _stopped(signal: str, entry_point: str) -> str:
    again = next(
        (how for part, how in GO_ON.items() if part in entry_point), "the same command starts from the beginning"
    )
    return f"{Path(sys.argv[0]).name}: stopped by {signal}; finished files are kept, and {again}."


GO_ON = {
    "predict": "the same command with --continue_prediction predicts the rest",
    "training": "the same command with --c resumes from the last checkpoint",
}
"""How, by a part of the name of the entry point."""
