"""What ``maskmed_nnu.pth`` runs at every interpreter start: it registers an import hook, and nothing else.

When one of the modules in ``ON_IMPORT`` is imported, the function named there is called with that module, at once,
before anyone can bind what the module defines. nnU-Net starts fresh interpreters for preprocessing, export and DDP; the
hook is in each of them, and it works for an installed nnU-Net as well as for an editable one, because whichever finder
knows the module still loads it.

``MASKMED_NNU_DISABLE_HOOK=1`` in the environment switches it off.
"""

# Every interpreter pays for this file: only modules that Python has loaded before it, not even ``__future__``.
import os
import sys

TYPE_CHECKING = False  # type checkers take it for that of typing, which is true for them
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

DISABLE_HOOK = "MASKMED_NNU_DISABLE_HOOK"

ON_IMPORT = {
    "batchgenerators.utilities.file_and_folder_operations": "maskmed_nnu.nnunet.whole_files:wrap_writers",
    "nnunetv2.utilities.find_class_by_name": "maskmed_nnu.nnunet.discovery.class_search:wrap_class_finder",
    "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints": (
        "maskmed_nnu.nnunet.preflight.hooks:wrap_planning"
    ),
    "nnunetv2.utilities.find_objects": "maskmed_nnu.nnunet.discovery.class_search:wrap_trainer_search",
    "nnunetv2.run.run_training": "maskmed_nnu.nnunet.preflight.hooks:wrap_training",
    "nnunetv2.run.load_pretrained_weights": "maskmed_nnu.nnunet.training.pretrained_weights:wrap_loading",
    "nnunetv2.inference.data_iterators": "maskmed_nnu.nnunet.inference.data_iterators:wrap_data_iterators",
    "nnunetv2.inference.predict_from_raw_data": "maskmed_nnu.nnunet.preflight.hooks:wrap_prediction",
    "nnunetv2.inference.export_prediction": "maskmed_nnu.nnunet.inference.export_prediction:wrap_export",
    "nnunetv2.ensembling.ensemble": "maskmed_nnu.nnunet.evaluation.class_steps:wrap_ensembling",
    "nnunetv2.postprocessing.remove_connected_components": (
        "maskmed_nnu.nnunet.evaluation.class_steps:wrap_postprocessing"
    ),
    "nnunetv2.evaluation.accumulate_cv_results": "maskmed_nnu.nnunet.evaluation.cross_validation:wrap_accumulation",
    "nnunetv2.evaluation.find_best_configuration": (
        "maskmed_nnu.nnunet.evaluation.best_configuration:wrap_best_configuration"
    ),
    "nnunetv2.evaluation.evaluate_predictions": "maskmed_nnu.nnunet.evaluation.evaluate_predictions:wrap_evaluation",
    "nnunetv2.model_sharing.model_export": "maskmed_nnu.nnunet.model_sharing.zip_files:wrap_export",
    "nnunetv2.model_sharing.model_import": "maskmed_nnu.nnunet.model_sharing.zip_files:wrap_installation",
    "nnunetv2.model_sharing.entry_points": "maskmed_nnu.nnunet.evaluation.plain_errors:wrap_entry_points",
    "nnunetv2.experiment_planning.plans_for_pretraining.move_plans_between_datasets": (
        "maskmed_nnu.nnunet.model_sharing.moved_plans:wrap_moving"
    ),
    "nnunetv2.utilities.overlay_plots": "maskmed_nnu.nnunet.evaluation.overlay_plots:wrap_overlays",
    "nnunetv2.experiment_planning.verify_dataset_integrity": (
        "maskmed_nnu.nnunet.experiment_planning.verify_dataset_integrity:wrap_verification"
    ),
}
ENTRY_POINTS = "maskmed_nnu.nnunet.entry_points:wrap_entry_points"


class ImportHook:
    """A finder for ``sys.meta_path``: modules named in ``actions`` are loaded as usual, then passed to their action."""

    def __init__(self, actions: "dict[str, str]") -> None:
        self.actions = actions
        self._searching: set[str] = set()

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if fullname not in self.actions or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            spec = self._find_original_spec(fullname, path, target)
        finally:
            self._searching.discard(fullname)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = _CallingLoader(spec.loader, self.actions[fullname])  # has the attributes of the original
            spec.loader = loader
        return spec

    def _find_original_spec(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None"
    ) -> "ModuleSpec | None":
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


class _CallingLoader:
    """Replaces the loader of a module until the module is executed, then restores it."""

    def __init__(self, loader: "Any", action: str) -> None:
        self.loader = loader
        self.action = action

    def __getattr__(self, name: str) -> "Any":
        return getattr(self.loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return self.loader.create_module(spec)

    def exec_module(self, module: "Any") -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        for action in (self.action, ENTRY_POINTS):
            _call(action, module)


def _call(action: str, module: "ModuleType") -> None:
    """Call ``"package.module:function"`` with ``module``; a broken installation of ours only warns."""
    name, _, attribute = action.partition(":")
    try:
        __import__(name)
        getattr(sys.modules[name], attribute)(module)
    except Exception as error:
        import warnings

        warnings.warn(
            f"nnU-Net runs without maskmed_nnu, because its installation is broken ({type(error).__name__}: {error}); "
            "install maskmed-nnu again, or uninstall it.",
            RuntimeWarning,
            stacklevel=2,
        )


if os.environ.get(DISABLE_HOOK, "") in ("", "0"):
    sys.meta_path.insert(0, ImportHook(ON_IMPORT))
