"""Names that modules had in version 0.1 and that users import: they still lead to the modules.

Plans and checkpoints name our classes by the names in :mod:`maskmed_nnu.nnunet.discovery.names` and networks by paths
that have not changed; a trainer of a user's own, derived from one of ours, imports it by its path.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_TRAINERS = ("base", "iaunet", "maskattn_unet", "maskmed", "simple_unet")
_PLANNERS = ("iaunet", "maskattn_unet", "maskmed", "simple_unet")

MOVED = {
    "epochs": "discovery.training_length",
    "instances": "",
    "instances.label_manager": "plans_handling.label_manager",
    "instances.preprocessor": "preprocessing.instance_preprocessor",
    "instances.reader": "imageio.instance_io",
    "onnx_export": "model_sharing.onnx_export",
    "planners": "experiment_planning.planners",
    **{f"planners.{name}": f"experiment_planning.planners.{name}" for name in _PLANNERS},
    "preprocessor": "preprocessing.maskmed_preprocessor",
    "trainers": "training.trainers",
    "trainers.dense": "training.trainers.semantic",
    "trainers.instances": "training.trainers.instance",
    **{f"trainers.{name}": f"training.trainers.{name}" for name in _TRAINERS},
}
"""Old → new, below ``maskmed_nnu.nnunet``."""


class MovedModuleFinder(MetaPathFinder, Loader):
    """Loads the module of today under its old name, as the same object, with a warning."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition("maskmed_nnu.nnunet.")
        return ModuleSpec(fullname, self, is_package=False) if not package and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = f"maskmed_nnu.nnunet.{MOVED[spec.name.removeprefix('maskmed_nnu.nnunet.')]}".rstrip(".")
        warnings.warn(f"{spec.name} is {new} now; import it from there.", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run; Python has put the old name's spec into the module, which gets its own back."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state


def redirect_moved_modules() -> None:
    """Let imports of the old names find the modules; once per process."""
    if not any(isinstance(finder, MovedModuleFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModuleFinder())  # before the files of the packages of today
