"""nnU-Net's commands, and the processes that they start, end with the sentence of an `InputError`, without a traceback.

Whoever calls a function from Python gets the exception.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from maskmed_nnu.errors import InputError

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
    "nnunetv2.run.run_training": ("run_training_entry",),
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

    return entry_point
